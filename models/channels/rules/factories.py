"""New tensors of the shape or dtype of another, constant or random: with something for each channel, or not."""

from typing import Any

import torch
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..nodes import place
from ..numbers.forms import Form
from .registry import functions, known_layout, not_known, rule_for, source_of

_LIKE = "zeros_like ones_like empty_like full_like rand_like randn_like bernoulli"


@rule_for(functions=functions(torch, _LIKE), methods="bernoulli")
def _filled(node: fx.Node, graph: ChannelGraph) -> None:
    """As many values as the tensor has; each channel's say nothing of the others."""
    layout = known_layout(source_of(node), graph)
    if layout is None:
        return not_known(node, graph)
    return graph.carry(node, layout)


@rule_for(methods="new_zeros new_ones new_empty new_full new_tensor")
def _new(node: fx.Node, graph: ChannelGraph) -> None:
    """Values that have nothing to do with the tensor's: where a size is that of its channels, they are for each one."""
    layout, shape = known_layout(source_of(node), graph), shape_of(node)
    sizes: Any = node.args[1:2] if node.target == "new_full" else node.args[1:]
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    if node.target == "new_tensor" or not any(map(graph.depends, sizes)):
        return None
    if layout is None or shape is None or len(sizes) != len(shape):
        return not_known(node, graph)
    dims = [dim for dim, size in enumerate(sizes) if graph.depends(size)]
    if len(dims) > 1 or not graph.demand(node, sizes[dims[0]], Form.of_layout(layout)):
        return graph.fix(
            node, f"{node.name} hard-codes its shape{place(node)}; a size computed from `x.shape` would not"
        )
    return graph.carry(node, layout.at(dims[0]))
