"""Attention recorded in steps: weights of positions, and the values that they weigh."""
