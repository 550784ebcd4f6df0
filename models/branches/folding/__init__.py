"""Folding: what the branches of a network know is multiplied into the weights beside them, or cut out of them."""
