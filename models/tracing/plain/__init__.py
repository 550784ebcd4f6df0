"""Layers that code writes out, or that users say are torch's: made torch's own in a copy, and put back by folding."""
