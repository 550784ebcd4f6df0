"""Layers that are called more than once: what their calls share."""

from torch import fx

from .graph import ChannelGraph


def blended_alike(graph: ChannelGraph) -> dict[fx.Node, fx.Node]:
    """For every tensor that a layer reads, one that stands for all that must share its E.

    A layer has one weight for all its calls, so E is folded into it once: W' = P W E needs the same E before each call.
    """
    standing: dict[fx.Node, fx.Node] = {}

    def found(tensor: fx.Node) -> fx.Node:
        while standing[tensor] is not tensor:
            tensor = standing[tensor]
        return tensor

    first: dict[str, fx.Node] = {}
    for node, role in graph.roles.items():
        if role == "write":
            source = node.all_input_nodes[0]
            if source in graph.derived:
                continue
            standing.setdefault(source, source)
            standing[found(source)] = found(first.setdefault(str(node.target), source))
    return {tensor: found(tensor) for tensor in standing}
