"""What works on the positions of each channel: pooling, padding, reductions."""

import operator
import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.graph import shape_of
from ...tracing.recording.attributes import AttributeNumber
from ..graph import ChannelGraph
from ..layouts import Channels, Layout, Segment
from ..nodes import label
from ..numbers.forms import Form
from .registry import functions, known_layout, not_known, rule_for, source_of, types

_SPATIAL = types(
    "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d "
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "LPPool1d LPPool2d LPPool3d Dropout1d Dropout2d Dropout3d Upsample UpsamplingNearest2d UpsamplingBilinear2d "
    "ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ConstantPad3d CircularPad1d CircularPad2d CircularPad3d "
    "ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d"
)
_SPATIAL_FUNCTIONS = (
    *functions(
        F,
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d adaptive_avg_pool1d "
        "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
        "interpolate upsample dropout1d dropout2d dropout3d",
    ),
    *functions(torch, "max_pool1d max_pool2d max_pool3d avg_pool1d adaptive_avg_pool1d"),
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
        return graph.fix(node, f"{label(node)} is called without a batch dimension; with one it would be free")
    return graph.carry(node, graph.layout(source))


@rule_for(functions=(F.pad,))
def _pad(node: fx.Node, graph: ChannelGraph) -> None:
    shape, sizes = shape_of(node.args[0]), node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
    source = source_of(node)
    layout = known_layout(source, graph)
    if shape is None or not isinstance(sizes, list | tuple) or len(graph.tensors(node)) != 1:
        return not_known(node, graph)
    dim = 1 if layout is None else layout.dim
    before, after = _padding(sizes, len(shape), dim)
    if any(map(graph.depends, sizes)) or any(_padding(sizes, len(shape), 0)):
        return graph.fix(node, "its channels are padded")
    if before == 0 == after:
        return graph.carry(node, layout or graph.layout(source))
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    if layout is None or mode != "constant":
        return graph.fix(node, "its channels are padded")
    ahead, behind = _padded(before, graph), _padded(after, graph)
    if ahead is None or behind is None:
        return graph.fix(node, "its channels are padded")
    for number, form in ((before, ahead), (after, behind)):
        if isinstance(number, AttributeNumber) and not graph.demand(node, number, Form.of_layout(Layout(dim, form))):
            return graph.fix(node, "its channels are padded")
    return graph.carry(node, Layout(layout.dim, (*ahead, *layout.given, *behind)))


def _padding(sizes: Sequence[Any], rank: int, dim: int) -> tuple[Any, Any]:
    """What is added before and behind dimension `dim`; the sizes begin with the last dimension's."""
    at = 2 * (rank - 1 - dim)
    return (sizes[at], sizes[at + 1]) if at + 1 < len(sizes) else (0, 0)


def _padded(number: Any, graph: ChannelGraph) -> tuple[Segment, ...] | None:
    """The channels that are added: as many at any width, but where an attribute says how many."""
    form = graph.form(number)
    if form is None or form.value() < 0:
        return None
    written = "the code pads with a written number of channels; kept as an attribute it would be free"
    reason = "" if isinstance(number, AttributeNumber) else written
    return (Segment(Channels(form.value(), reason)),) if form.value() else ()


@rule_for(functions=(torch.roll, torch.flip), methods="roll flip")
def _rolled(node: fx.Node, graph: ChannelGraph) -> None:
    """Positions in another order."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    at = 2 if graph.operation(node) == "roll" else 1
    dims: Any = node.args[at:] or (node.kwargs.get("dims"),)
    dims = dims[0] if isinstance(dims[0], list | tuple) else dims
    if layout is None or shape is None or not all(isinstance(dim, int) for dim in dims):
        return not_known(node, graph)
    if {dim % len(shape) for dim in dims} & {0, layout.dim}:
        return graph.fix(node, f"{node.name} moves its channels or the batch")
    return graph.carry(node, layout)


_REDUCTIONS = "mean sum amax amin std var logsumexp prod"
_NORMS = (torch.norm, torch.linalg.norm, torch.linalg.vector_norm)


@rule_for(functions=(*functions(torch, _REDUCTIONS), *_NORMS), methods=f"{_REDUCTIONS} norm")
def _reduction(node: fx.Node, graph: ChannelGraph) -> None:
    """One value of all along some dimensions, which stay as dimensions of size 1 or go."""
    source = source_of(node)
    layout, shape, out = known_layout(source, graph), shape_of(source), shape_of(node)
    place = 2 if node.target in (*_NORMS, "norm") else 1  # behind which norm it is
    dims: Any = node.args[place] if len(node.args) > place else node.kwargs.get("dim")
    dims = dims if isinstance(dims, list | tuple) else (dims,)
    if layout is None or shape is None or out is None or not all(map(_is_dim, dims)):
        return not_known(node, graph)
    axes = {axis % len(shape) for dim in dims for axis in (range(len(shape)) if dim is None else (dim,))}
    if layout.dim in axes:
        return graph.derive(node, layout)
    if any(graph.is_batch(source, axis) for axis in axes):
        return graph.fix(node, f"{node.name} reduces over the batch")
    gone = 0 if len(out) == len(shape) else sum(axis < layout.dim for axis in axes)
    return graph.carry(node, layout.at(layout.dim - gone))


def _is_dim(dim: object) -> bool:
    return dim is None or (isinstance(dim, int) and not isinstance(dim, bool))


@rule_for(functions=(torch.max, torch.min), methods="max min")
def _maximum(node: fx.Node, graph: ChannelGraph) -> None:
    """The largest value of each channel along one dimension, and where it was; or of two tensors."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    shapes = node.meta.get("shapes")
    if layout is None or shape is None or not isinstance(dim, int) or shapes is None:
        return not_known(node, graph)
    dim %= len(shape)
    if dim == layout.dim:
        places = any(user.target is operator.getitem and user.args[1] == 1 and user.users for user in node.users)
        return graph.fix(node, f"{node.name} numbers its channels") if places else graph.derive(node, layout)
    if graph.is_batch(source, dim):
        return graph.fix(node, f"{node.name} reduces over the batch")
    gone = len(shapes[0]) < len(shape) and dim < layout.dim
    return graph.carry_pieces(node, [layout.at(layout.dim - gone)] * 2)
