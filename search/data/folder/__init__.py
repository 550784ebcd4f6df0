"""Folders of images: found, split, decoded, held in memory or streamed."""
