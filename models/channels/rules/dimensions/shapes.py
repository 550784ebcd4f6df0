"""What moves and joins dimensions: permutation, concatenation, stacking, dimensions of size 1."""

from typing import Any

import torch
from torch import fx

from ....tracing.graph import shape_of
from ...graph import ChannelGraph
from ...layouts import Layout
from ...numbers.forms import Form
from ...parameters import reshaped
from ..claims import claimed
from ..registry import functions, known_layout, not_known, rule_for, source_of


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
        segments = tuple(segment for part in parts for segment in graph.layout(part, dim).given)
        return graph.carry(node, Layout(dim, segments))
    layouts = [claimed(part, first.dim, graph) for part in parts if isinstance(part, fx.Node)]
    if not all(layout is not None and first.unite(layout) for layout in layouts):
        return graph.fix(node, f"{node.name} joins tensors whose channels do not line up")
    return graph.carry(node, first)


@rule_for(functions=(torch.stack,))
def _stacking(node: fx.Node, graph: ChannelGraph) -> None:
    """Tensors of the same channels along a new dimension."""
    parts = node.args[0] if node.args else None
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    shape = shape_of(node)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int) or shape is None:
        return not_known(node, graph)
    layouts = [graph.layouts.get(part) for part in parts if isinstance(part, fx.Node)]
    first, at = layouts[0] if layouts else None, dim % len(shape)
    if first is None or len(layouts) != len(parts):
        return not_known(node, graph)
    if at == 0 and graph.has_batch(node):
        graph.move_batch(node, 1)
    if not all(layout is not None and first.unite(layout) for layout in layouts):
        return graph.fix(node, f"{node.name} joins tensors whose channels do not line up")
    return graph.carry(node, first.at(first.dim + (at <= first.dim)))


_SWAPS = "transpose swapaxes swapdims"
_MOVES = "movedim moveaxis"


@rule_for(functions=functions(torch, f"permute {_SWAPS} {_MOVES}"), methods=f"permute {_SWAPS} {_MOVES}")
def _permutation(node: fx.Node, graph: ChannelGraph) -> None:
    """The channels move to another dimension, and the batch may."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    axes = None if shape is None else _axes(node, len(shape), graph)
    if layout is None or source is None or axes is None:
        return not_known(node, graph)
    return _permuted(node, source, axes, graph)


def _permuted(node: fx.Node, source: fx.Node, axes: list[int], graph: ChannelGraph) -> None:
    if graph.has_batch(node):
        graph.move_batch(node, next(i for i, axis in enumerate(axes) if graph.is_batch(source, axis)))
    moved = [layout.at(axes.index(layout.dim)) for layout in graph.all_along(source)]
    return graph.carry_pairs(node, *moved) if len(moved) == 2 else graph.carry(node, *moved)


def transposed(node: fx.Node, name: object, graph: ChannelGraph) -> bool:
    """Follows `x.T` and `x.mT`; False for other attributes."""
    source, shape = source_of(node), shape_of(node)
    if source not in graph.layouts or shape is None or name not in ("T", "mT") or (name == "T" and len(shape) != 2):
        return False
    axes = list(range(len(shape)))
    _permuted(node, source, [*axes[:-2], axes[-1], axes[-2]], graph)
    return True


def _axes(node: fx.Node, rank: int, graph: ChannelGraph) -> list[int] | None:
    """For each dimension of the result that of the source; None where they are told in an unusual way."""
    given: Any = node.args[1:]
    name = graph.operation(node)
    if node.kwargs:
        return None
    if name in _MOVES.split():
        return _moved(given, rank)
    given = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    if not all(isinstance(axis, int) for axis in given):
        return None
    axes = [axis % rank for axis in given]
    if name in _SWAPS.split():
        swap = dict(zip(axes, reversed(axes), strict=True))
        axes = [swap.get(axis, axis) for axis in range(rank)]
    return axes


def _moved(given: Any, rank: int) -> list[int] | None:
    ends = [x if isinstance(x, tuple | list) else (x,) for x in given]
    if len(ends) != 2 or not all(isinstance(axis, int) for end in ends for axis in end):
        return None
    old, new = ([axis % rank for axis in end] for end in ends)
    rest = iter([axis for axis in range(rank) if axis not in old])
    to = dict(zip(new, old, strict=True))
    return [to[i] if i in to else next(rest) for i in range(rank)]


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
    if first and graph.is_batch(source, 0):
        if node.target not in (torch.unsqueeze, "unsqueeze"):
            return graph.fix(node, f"{node.name} takes the batch away where it is one example")
        graph.move_batch(node, 1)
    return graph.carry(node, layout.at(moved))


@rule_for(methods="repeat")
def _repetition(node: fx.Node, graph: ChannelGraph) -> None:
    """The same along other dimensions than the channels', over and over."""
    source = source_of(node)
    layout, shape, out = known_layout(source, graph), shape_of(source), shape_of(node)
    counts: Any = node.args[1:]
    counts = counts[0] if len(counts) == 1 and isinstance(counts[0], list | tuple) else counts
    if layout is None or shape is None or out is None or len(counts) != len(out):
        return not_known(node, graph)
    ahead = len(out) - len(shape)
    if ahead and shape[0] != 1 and graph.has_batch(node):
        return graph.fix(node, f"{node.name} moves the batch dimension; kept first, it would be free")
    if counts[layout.dim + ahead] != 1 or any(map(graph.depends, counts)):
        return graph.fix(node, f"{node.name} repeats its channels")
    return graph.carry(node, layout.at(layout.dim + ahead))


@rule_for(methods="expand expand_as")
def _expansion(node: fx.Node, graph: ChannelGraph) -> None:
    """Dimensions of size 1 made larger; the channels stay what they are."""
    source = source_of(node)
    layout, shape, out = known_layout(source, graph), shape_of(source), shape_of(node)
    like = node.args[1] if node.target == "expand_as" else None
    if isinstance(like, fx.Node) and like in graph.layouts and _is_one_for_all(shape, out, graph.layouts[like]):
        if layout is not None:
            layout.fix(f"{node.name} spreads it over all channels of another tensor")
        return graph.carry(node, graph.layouts[like])
    if layout is None or shape is None or out is None:
        return not_known(node, graph)
    ahead = len(out) - len(shape)
    moved = layout.at(layout.dim + ahead)
    if ahead and shape[0] != 1 and graph.has_batch(node):
        return graph.fix(node, f"{node.name} moves the batch dimension; kept first, it would be free")
    if shape[layout.dim] != out[moved.dim]:
        return graph.fix(node, f"{node.name} spreads it over all channels of another tensor")
    if node.target == "expand_as":
        other = graph.layouts.get(like) if isinstance(like, fx.Node) else None
        lines_up = other is not None and moved.unite(other)
        return graph.carry(node, moved) if lines_up else graph.fix(node, f"{node.name} spreads it over other channels")
    sizes: Any = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], list | tuple):
        sizes = sizes[0]
    if len(sizes) != len(out) or node.kwargs:
        return not_known(node, graph)
    asked = sizes[moved.dim]
    kept = asked == -1 or graph.demand(node, asked, Form.of_layout(moved))
    others = [size for dim, size in enumerate(sizes) if dim != moved.dim]
    if not kept or any(map(graph.depends, others)):
        return graph.fix(node, f"{node.name} hard-codes its number of channels; -1 would not")
    return graph.carry(node, moved)


def _is_one_for_all(shape: tuple[int, ...] | None, out: tuple[int, ...] | None, layout: Layout) -> bool:
    """Whether an expansion gives one value to all channels of another tensor."""
    if shape is None or out is None:
        return False
    at = layout.dim - len(out) + len(shape)
    return at < 0 or (shape[at] == 1 and out[layout.dim] != 1)


@rule_for(functions=(torch.repeat_interleave,), methods="repeat_interleave")
def _interleaving(node: fx.Node, graph: ChannelGraph) -> None:
    """Every position, or every example, several times over."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    times: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("repeats")
    dim: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
    if layout is None or shape is None or graph.form(times) is None or graph.depends(times) or type(dim) is not int:
        return not_known(node, graph)
    if dim % len(shape) == layout.dim:
        return graph.fix(node, f"{node.name} repeats its channels")
    return graph.carry(node, layout)
