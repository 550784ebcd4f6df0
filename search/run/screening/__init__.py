"""Before any training: candidates of widths, judged untrained and then by a few steps."""
