"""Training with Lightning: the baseline's, and a trial's under its recipe."""
