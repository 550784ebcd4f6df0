"""Branches beside the groups to narrow: planned, assembled into a network, blended by α, folded at 0."""
