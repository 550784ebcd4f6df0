"""A network as a graph: what torch.fx follows of its forward, in both modes, with shapes."""
