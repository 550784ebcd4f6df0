"""Data sets that are known by name: read from their published files, or downloaded."""
