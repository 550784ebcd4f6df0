"""Data sets that are known by name, whichever way each is kept."""
