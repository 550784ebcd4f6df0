"""What a file of each format holds: written, read, and what it says of itself; one format a file."""
