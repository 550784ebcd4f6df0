"""What a network is for: a task's loss, its metric, and what its outputs and targets must be."""
