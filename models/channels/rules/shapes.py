"""What rearranges dimensions: concatenation, permutation, flattening, indexing, and code that reads a shape."""

import operator
from math import prod
from typing import Any

import torch
from torch import fx, nn

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout, Segment
from ..parameters import reshaped
from .registry import known_layout, not_known, rule_for, source_of


@rule_for(functions=(torch.cat, torch.concat))
def _concatenation(node: fx.Node, graph: ChannelGraph) -> None:
    parts = node.args[0] if node.args else None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    shape = shape_of(node)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int) or shape is None:
        return not_known(node, graph)
    layouts = [graph.layouts.get(part) for part in parts if isinstance(part, fx.Node)]
    first = next((layout for layout in layouts if layout is not None), None)
    if first is None or len(layouts) != len(parts):
        return not_known(node, graph)
    dim %= len(shape)
    if dim == first.dim:
        segments = tuple(segment for part in parts for segment in graph.layout(part, dim).segments)
        return graph.carry(node, Layout(dim, segments))
    if not all(layout is not None and first.unite(layout) for layout in layouts):
        return graph.fix(node, f"{node.name} joins tensors whose channels do not line up")
    return graph.carry(node, first)


@rule_for(functions=(torch.permute, torch.transpose), methods="permute transpose")
def _permutation(node: fx.Node, graph: ChannelGraph) -> None:
    """The channels move to another dimension; the batch stays first."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    axes: Any = node.args[1:]
    if layout is None or shape is None or node.kwargs:
        return not_known(node, graph)
    if len(axes) == 1 and isinstance(axes[0], tuple | list):
        axes = axes[0]
    if not all(isinstance(axis, int) for axis in axes):
        return not_known(node, graph)
    axes = [axis % len(shape) for axis in axes]
    if node.target in (torch.transpose, "transpose"):
        swap = dict(zip(axes, reversed(axes), strict=True))
        axes = [swap.get(axis, axis) for axis in range(len(shape))]
    if axes[0] != 0:
        return graph.fix(node, f"{node.name} moves the batch dimension")
    return graph.carry(node, Layout(axes.index(layout.dim), layout.segments))


@rule_for(modules=(nn.Flatten,), functions=(torch.flatten, torch.reshape), methods="flatten view reshape")
def _flatten(node: fx.Node, graph: ChannelGraph) -> None:
    """(N, C, *) to (N, C·prod(*)), the number of features left open: written out, it would hard-code the width."""
    source = source_of(node)
    shape, out, layout = shape_of(source), shape_of(node), known_layout(source, graph)
    if shape is None or out is None or layout is None:
        return not_known(node, graph)
    if (values := reshaped(node, graph)) is not None:
        return graph.carry(node, values)
    if layout.dim == 1 and len(out) > 2 and shape[:2] == out[:2] and _flattens_from(node, 2):
        return graph.carry(node, layout)  # positions alone are flattened: (N, C, H·W)
    keeps_batch = shape[0] == out[0] and len(out) == 2 and layout.dim == 1
    if not keeps_batch or not _leaves_features_open(node):
        return graph.fix(node, f"{node.name} hard-codes or rearranges its shape")
    span = prod(shape[2:])
    return graph.carry(node, Layout(1, tuple(Segment(s.channels, s.span * span) for s in layout.segments)))


def _flattens_from(node: fx.Node, first: int) -> bool:
    if node.target not in (torch.flatten, "flatten"):
        return False
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    return bool(start == first)


def _leaves_features_open(node: fx.Node) -> bool:
    if node.op == "call_module" or node.target in (torch.flatten, "flatten"):
        return True
    sizes: Any = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    return len(sizes) == 2 and sizes[0] != -1 and sizes[1] == -1 and not node.kwargs


@rule_for(functions=(getattr,), methods="size dim")
def _attribute(node: fx.Node, graph: ChannelGraph) -> None:
    """A tensor's shape may be read, its channel count may not."""
    source = source_of(node)
    layout = known_layout(source, graph)
    if layout is None or node.target == "dim" or (node.op == "call_function" and node.args[1] in ("dtype", "device")):
        return
    if node.op == "call_function" and node.args[1] != "shape":
        not_known(node, graph)
    elif len(node.args) == 1 or node.op == "call_function":
        graph.shapes[node] = layout
    else:
        _read_size(layout, node.args[1], shape_of(source) or ())


@rule_for(functions=(torch.squeeze, torch.unsqueeze), methods="squeeze unsqueeze")
def _singletons(node: fx.Node, graph: ChannelGraph) -> None:
    """Dimensions of size 1 come or go; those that `squeeze()` alone takes would depend on channels and batch."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = dims if isinstance(dims, list | tuple) else (dims,)
    if layout is None or shape is None or not all(isinstance(dim, int) for dim in dims):
        return not_known(node, graph)
    if (values := reshaped(node, graph)) is not None:
        return graph.carry(node, values)
    if node.target in (torch.unsqueeze, "unsqueeze"):
        at = dims[0] % (len(shape) + 1)
        moved, first = layout.dim + (at <= layout.dim), at == 0
    else:
        gone = {dim % len(shape) for dim in dims if shape[dim] == 1}
        moved, first = layout.dim - sum(dim < layout.dim for dim in gone), 0 in gone
        if layout.dim in {dim % len(shape) for dim in dims}:
            return graph.fix(node, f"{node.name} takes the channels away where one is left")
    if first:
        return graph.fix(node, f"{node.name} moves the batch dimension")
    return graph.carry(node, Layout(moved, layout.segments))


@rule_for(functions=(operator.getitem,))
def _item(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    if source is not None and source in graph.shapes:
        _read_size(graph.shapes[source], node.args[1], shape_of(source_of(source)) or ())
    elif (values := reshaped(node, graph)) is not None:
        graph.carry(node, values)
    elif (layout := _indexed(node, graph)) is not None:
        graph.carry(node, layout)
    else:
        not_known(node, graph)


def _indexed(node: fx.Node, graph: ChannelGraph) -> Layout | None:
    """The layout after an index that takes all examples and channels: `x[:, :, None]`, `x[:, :, 0, 1:]`; else None."""
    source, index = source_of(node), node.args[1]
    layout, shape = known_layout(source, graph), shape_of(source)
    items = list(index) if isinstance(index, tuple) else [index]
    if layout is None or shape is None or not all(map(_is_plain, items)):
        return None
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - sum(x is not None and x is not Ellipsis for x in items))
    items += [slice(None)] * (len(shape) - sum(x is not None for x in items))
    moved, dim = 0, 0
    for item in items:
        if item is None and dim == 0:
            return None  # in front of the batch
        if item is not None and dim in (0, layout.dim) and item != slice(None):
            return None
        if dim < layout.dim or (dim == layout.dim and item is None):
            moved += not isinstance(item, int)
        dim += item is not None
    return Layout(moved, layout.segments)


def _is_plain(item: Any) -> bool:
    """Whether an index's item is written in the code, not computed."""
    if isinstance(item, slice):
        return all(x is None or isinstance(x, int) for x in (item.start, item.stop, item.step))
    return item is None or item is Ellipsis or (isinstance(item, int) and not isinstance(item, bool))


def _read_size(layout: Layout, index: Any, shape: tuple[int, ...]) -> None:
    positions = range(len(shape))
    plain = isinstance(index, int) or (
        isinstance(index, slice) and all(x is None or isinstance(x, int) for x in (index.start, index.stop, index.step))
    )
    chosen: Any = positions[index] if plain else positions
    if layout.dim in (chosen if isinstance(chosen, range) else (chosen,)):
        layout.fix("the code reads its number of channels")
