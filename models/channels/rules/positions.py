"""What works on the positions of each channel: pooling, padding, reductions."""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph, label
from .registry import functions, known_layout, not_known, rule_for, source_of, types

_SPATIAL = types(
    "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d "
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "Dropout1d Dropout2d Dropout3d Upsample UpsamplingNearest2d UpsamplingBilinear2d "
    "ZeroPad2d ConstantPad2d ReflectionPad2d ReplicationPad2d"
)
_SPATIAL_FUNCTIONS = (
    *functions(F, "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d interpolate dropout2d"),
    *functions(torch, "max_pool2d adaptive_avg_pool1d"),
)


@rule_for(modules=_SPATIAL, functions=_SPATIAL_FUNCTIONS)
def _spatial(node: fx.Node, graph: ChannelGraph) -> None:
    """Pooling, padding and the like: the dimensions behind the channels."""
    source = source_of(node)
    shape, out = shape_of(source), shape_of(node)
    if shape is None or out is None or len(shape) < 3 or len(graph.tensors(node)) != 1 or shape[1] != out[1]:
        return not_known(node, graph)
    rank = re.search(r"([123])d$", graph.operation(node))
    if rank is not None and len(shape) != 2 + int(rank[1]):
        return graph.fix(node, f"{label(node)} is called without a batch dimension")
    return graph.carry(node, graph.layout(source))


@rule_for(functions=(F.pad,))
def _pad(node: fx.Node, graph: ChannelGraph) -> None:
    shape, sizes = shape_of(node.args[0]), node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
    behind_channels = shape is not None and isinstance(sizes, list | tuple) and len(sizes) <= 2 * (len(shape) - 2)
    if behind_channels and len(graph.tensors(node)) == 1:
        return graph.carry(node, graph.layout(node.args[0]))
    return graph.fix(node, "its channels are padded")


@rule_for(functions=(torch.mean, torch.sum, torch.amax), methods="mean sum amax")
def _spatial_reduction(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if layout is None or shape is None or layout.dim != 1 or dims is None:
        return not_known(node, graph)
    axes = {axis % len(shape) for axis in (dims if isinstance(dims, list | tuple) else (dims,))}
    if axes & {0, 1}:
        return graph.fix(node, f"{node.name} reduces over its channels or the batch")
    return graph.carry(node, layout)
