"""Images in memory: read, split, batched, augmented."""
