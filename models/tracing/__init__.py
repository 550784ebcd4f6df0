"""A network as a graph: what its forward does, in both modes, with shapes."""
