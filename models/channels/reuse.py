"""Layers that are called more than once: what their calls share."""

from collections import defaultdict
from collections.abc import Iterable

from torch import fx

from ..layers.kinds import passes_constants
from .graph import READS, ChannelGraph


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
        if role in READS:
            source = node.all_input_nodes[0]
            if source in graph.derived:
                continue
            standing.setdefault(source, source)
            standing[found(source)] = found(first.setdefault(str(node.target), source))
    return {tensor: found(tensor) for tensor in standing}


def readers_by_tensor(graph: ChannelGraph) -> dict[fx.Node, list[fx.Node]]:
    """For every tensor that stands for those which share one E, the calls of layers that read any of them."""
    readers: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    alike = blended_alike(graph)
    for node, role in graph.roles.items():
        if role in READS and node.all_input_nodes[0] in alike:
            readers[alike[node.all_input_nodes[0]]].append(node)
    return readers


def take_constants(graph: ChannelGraph, readers: Iterable[fx.Node]) -> bool:
    """Whether a constant added to a channel of what layers read can be added to their biases instead."""
    return all(passes_constants(graph.traced.module(reader)) for reader in readers)
