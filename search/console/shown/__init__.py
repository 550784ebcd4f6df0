"""What was found, as people read it: tables, lines, numbers, progress."""
