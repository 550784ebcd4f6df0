"""Layers with weights, and what mixes channels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ...layers.kinds import (
    BATCH_NORM,
    CONVOLUTIONS,
    FROZEN_BATCH_NORM,
    INSTANCE_NORM,
    LINEAR,
    RECURRENT,
    behaves_as,
)
from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from .registry import functions, known_layout, rule_for, source_of, types


@rule_for(modules=CONVOLUTIONS)
def _convolution(node: fx.Node, graph: ChannelGraph) -> None:
    module = graph.traced.module(node)
    assert isinstance(module, CONVOLUTIONS)
    shape, layout = shape_of(node.args[0]), known_layout(source_of(node), graph)
    if shape is None or len(shape) != module.weight.dim():
        graph.fix(node, f"{node.target} is called without a batch dimension; with one it would be free")
    elif layout is not None and layout.dim > 1:
        _along_positions(node, graph, layout)
    elif module.groups == 1:
        graph.write(node)
    elif _treats_each_alone(module) and str(node.target) not in graph.in_groups:
        graph.carry(node, graph.layout(node.args[0]).spread(module.out_channels // module.groups))
    else:
        graph.write_in_groups(node, module.groups)


def _treats_each_alone(module: Any) -> bool:
    """Whether a convolution is depthwise: each of its outputs reads one channel, which may have several outputs."""
    one_of_each = module.out_channels == module.groups or not module.transposed
    return bool(module.in_channels == module.groups and one_of_each)


def _along_positions(node: fx.Node, graph: ChannelGraph, layout: Layout) -> None:
    """A convolution whose positions are the channels, each a sum over its neighbours, as many as it reads.

    The branch runs the same layer over the channels that it has.
    """
    module, shape, out = graph.traced.module(node), shape_of(node.args[0]), shape_of(node)
    assert isinstance(module, CONVOLUTIONS)
    stride: Any = module.stride
    if shape is None or out is None or shape[layout.dim] != out[layout.dim] or stride[layout.dim - 2] != 1:
        return graph.fix(node, f"{node.target} slides along its channels and yields another number of them")
    return graph.carry_mixed(node, layout)


@rule_for(modules=LINEAR.classes)
def _linear(node: fx.Node, graph: ChannelGraph) -> None:
    shape, layout = shape_of(node.args[0]), known_layout(source_of(node), graph)
    if shape is None or len(shape) < 2:
        graph.fix(node, f"{node.target} is called without a batch dimension; with one it would be free")
    elif layout is not None and layout.dim != len(shape) - 1:
        graph.carry(node, layout)  # it mixes the positions of each channel, all channels alike
    else:
        graph.write(node, dim=len(shape) - 1)


@rule_for(modules=RECURRENT.classes)
def _recurrent(node: fx.Node, graph: ChannelGraph) -> None:
    """It reads channels at every step; its state has the width that it has."""
    source, shape = source_of(node), shape_of(node.args[0])
    rank = 3 if isinstance(graph.traced.module(node), nn.RNNBase) else 2  # one step alone
    if source is None or shape is None or len(shape) != rank:
        return graph.fix(node, f"{node.target} is called without a batch dimension; with one it would be free")
    for state in node.all_input_nodes[1:]:
        for layout in graph.layouts_of(state):
            layout.fix(f"{node.target} begins with it, and its state's width stays")
    return graph.read(node, dim=rank - 1)


_PER_CHANNEL = (*BATCH_NORM.classes, *INSTANCE_NORM.classes, nn.PReLU)


@rule_for(modules=_PER_CHANNEL, named=FROZEN_BATCH_NORM.names)
def _per_channel(node: fx.Node, graph: ChannelGraph) -> None:
    """Layers with values of each channel in dimension 1."""
    kind, shape = behaves_as(graph.traced.module(node)), shape_of(node)
    ranks = {cls: rank for rank, cls in enumerate(INSTANCE_NORM.classes, start=3)}
    if shape is not None and len(shape) != ranks.get(kind, len(shape)):
        return graph.fix(node, f"{node.target} is called without a batch dimension; with one it would be free")
    return graph.carry(node, graph.layout(node.args[0]))


@rule_for(modules=types("LocalResponseNorm MultiheadAttention"))
def _mixing(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{type(graph.traced.module(node)).__name__} mixes channels")


@rule_for(
    functions=functions(F, "scaled_dot_product_attention"),
)
def _mixing_function(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{label(node)} mixes channels")


@rule_for(
    modules=types("Softmax LogSoftmax Softmin"),
    functions=(*functions(F, "softmax log_softmax softmin"), *functions(torch, "softmax log_softmax")),
    methods="softmax log_softmax",
)
def _softmax(node: fx.Node, graph: ChannelGraph) -> None:
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if node.op == "call_module":
        dim = graph.traced.module(node).dim
    _along(node, graph, dim)


def _along(node: fx.Node, graph: ChannelGraph, dim: Any) -> None:
    """One dimension's values depend on each other: the channels, or the positions of each channel on its own."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    if source is None or layout is None or shape is None or not isinstance(dim, int):
        return graph.fix(node, f"{graph.operation(node)} mixes channels")
    if graph.is_batch(source, dim % len(shape)):
        return graph.fix(node, f"{graph.operation(node)} mixes channels")
    if dim % len(shape) == layout.dim and source not in graph.second:
        return graph.carry_mixed(node, layout)
    return graph.carry_as(node, source)


@rule_for(functions=(F.normalize,))
def _normalisation(node: fx.Node, graph: ChannelGraph) -> None:
    """Vectors along one dimension are given the length 1."""
    _along(node, graph, node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 1))


@rule_for(modules=(nn.Softmax2d,))
def _softmax_of_channels(node: fx.Node, graph: ChannelGraph) -> None:
    shape = shape_of(node)
    _along(node, graph, None if shape is None else len(shape) - 3)
