"""What takes channels apart: splits, chunks, slices and indices. The parts are groups of their own."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from ....tracing.graph import shape_of
from ...graph import ChannelGraph
from ...layouts import Layout
from ...nodes import place
from ...numbers.forms import Form, layout_parts
from ...parameters import reshaped
from ..registry import known_layout, not_known, rule_for, source_of


def _dim(node: fx.Node, position: int, rank: int) -> int | None:
    dim: Any = node.args[position] if len(node.args) > position else node.kwargs.get("dim", 0)
    return dim % rank if isinstance(dim, int) else None


def _part_sizes(node: fx.Node, dim: int) -> list[int] | None:
    """The sizes along `dim` of the tensors that a node yields."""
    shapes: Any = node.meta.get("shapes")
    return None if shapes is None else [shape[dim] for shape in shapes]


@rule_for(functions=(torch.split, torch.chunk, torch.tensor_split), methods="split chunk tensor_split")
def _split(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dim = None if shape is None else _dim(node, 2, len(shape))
    sizes = None if dim is None else _part_sizes(node, dim)
    if layout is None or sizes is None or len(node.args) < 2:
        return not_known(node, graph)
    if dim is not None and graph.is_batch(source, dim):
        return graph.fix(node, f"{node.name} takes the batch apart")
    parts = [layout] * len(sizes) if dim != layout.dim else _parts(node, graph, layout, sizes)
    if parts is None:
        told = f"{node.name} hard-codes the sizes of its parts{place(node)}"
        return graph.fix(node, f"{told}; sizes from `x.shape`, or kept as attributes of the module, would not")
    return graph.carry_pieces(node, parts)


def _parts(node: fx.Node, graph: ChannelGraph, layout: Layout, sizes: Sequence[int]) -> list[Layout] | None:
    given: Any = node.args[1]
    if _name(node) in ("chunk", "tensor_split"):
        # A list of places is not understood, nor fewer parts than are asked for.
        if not isinstance(given, int) or len(sizes) != given:
            return None
        return layout_parts(layout, given) if len(set(sizes)) == 1 else _unequal_parts(node, layout, sizes)
    if not isinstance(given, list | tuple):
        if len(sizes) == 1 and isinstance(given, int):
            return [layout]  # all at any width
        parts = layout_parts(layout, len(sizes)) if len(set(sizes)) == 1 else None
        return parts if parts and graph.demand(node, given, Form.of_layout(parts[0])) else None
    found, start = [], 0
    for size, number in zip(sizes, given, strict=True):
        part = layout.sliced(start, start + size)
        if part is None or not graph.demand(node, number, Form.of_layout(part)):
            return None
        found.append(part)
        start += size
    return found


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _unequal_parts(node: fx.Node, layout: Layout, sizes: Sequence[int]) -> list[Layout] | None:
    """What `chunk` gives where the last of n parts is smaller: a set A in all, and in all but the last a set B more.

    At any widths k of A and l of B, chunk gives these again: its parts have ⌈((n − 1)(k + l) + k) / n⌉ = k + l places,
    because l < n, as it must in the original.
    """
    size, last = sizes[0], sizes[-1]
    if _name(node) != "chunk" or set(sizes[:-1]) != {size} or last > size:
        return None
    starts = range(0, size * len(sizes), size)
    shared = [layout.sliced(start, start + last) for start in starts]
    more = [layout.sliced(start + last, start + size) for start in starts[:-1]]
    for parts in (shared, more):
        if not all(part is not None and parts[0] is not None and part.unite(parts[0]) for part in parts):
            return None
    found = [layout.sliced(start, start + own) for start, own in zip(starts, sizes, strict=True)]
    return [part for part in found if part is not None]


@rule_for(functions=(torch.unbind,), methods="unbind")
def _unbind(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dim = None if shape is None else _dim(node, 1, len(shape))
    if layout is None or shape is None or dim is None:
        return not_known(node, graph)
    if dim == layout.dim or graph.is_batch(source, dim):
        return graph.fix(node, f"{node.name} takes its channels or the batch apart one by one")
    _batch_without(node, source, dim, graph)
    return graph.carry_pieces(node, [layout.at(layout.dim - (dim < layout.dim))] * shape[dim])


def _batch_without(node: fx.Node, source: fx.Node | None, dim: int, graph: ChannelGraph) -> None:
    """Tells where the batch is once a dimension of the source is gone."""
    rank = len(shape_of(source) or ())
    for at in range(rank):
        if at != dim and graph.is_batch(source, at):
            graph.move_batch(node, at - (dim < at))


@rule_for(functions=(torch.select,), methods="select")
def _selection(node: fx.Node, graph: ChannelGraph) -> None:
    """One place of a dimension, which goes."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    dim: Any = node.args[1] if len(node.args) > 2 else None
    if layout is None or shape is None or not isinstance(dim, int) or graph.depends(node.args[2]):
        return not_known(node, graph)
    dim %= len(shape)
    if dim == layout.dim or graph.is_batch(source, dim):
        return graph.fix(node, f"{node.name} takes one channel or one example")
    _batch_without(node, source, dim, graph)
    return graph.carry(node, layout.at(layout.dim - (dim < layout.dim)))


@rule_for(functions=(torch.narrow,), methods="narrow")
def _narrow(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    if layout is None or shape is None or len(node.args) != 4 or not isinstance(node.args[1], int):
        return not_known(node, graph)
    dim, start, length = node.args[1] % len(shape), graph.form(node.args[2]), graph.form(node.args[3])
    if graph.is_batch(source, dim) or start is None or length is None:
        return not_known(node, graph)
    if dim != layout.dim:
        return graph.carry(node, layout)
    first, size = start.value(), length.value()
    before, part = layout.sliced(0, first), layout.sliced(first, first + size)
    if (
        before is None
        or part is None
        or not graph.demand(node, node.args[2], Form.of_layout(before))
        or not graph.demand(node, node.args[3], Form.of_layout(part))
    ):
        return graph.fix(node, _hard_coded(node))
    return graph.carry(node, part)


@rule_for(functions=(operator.getitem,))
def _item(node: fx.Node, graph: ChannelGraph) -> None:
    source, index = source_of(node), node.args[1]
    if source is not None and source in graph.pieces:
        pieces = graph.pieces[source]
        graph.keep_batch(node)
        return graph.carry(node, pieces[index]) if isinstance(index, int) else not_known(node, graph)
    if source is not None and source in graph.sizes:
        return graph.follow_sizes(node, graph.sizes[source], index)
    if source is not None and source in graph.layouts and isinstance(index, int) and shape_of(source) is None:
        return not_known(node, graph)
    if (values := reshaped(node, graph)) is not None:
        return graph.carry(node, values)
    layout = known_layout(source, graph)
    if layout is None or source is None:
        return not_known(node, graph)
    found = _indexed(node, graph, layout)
    if found is None:
        return not_known(node, graph)
    return graph.fix(node, found) if isinstance(found, str) else graph.carry(node, found)


def _hard_coded(node: fx.Node) -> str:
    told = f"{node.name} hard-codes the channels that it takes{place(node)}"
    return f"{told}; places from `x.shape`, or kept as attributes of the module, would not"


def _indexed(node: fx.Node, graph: ChannelGraph, layout: Layout) -> Layout | str | None:
    """The layout after an index such as `x[:, :, None]`, `x[:, c:, 0, 1:]`; else None, or what is in the way."""
    shape, index = shape_of(node.args[0]), node.args[1]
    items = list(index) if isinstance(index, tuple) else [index]
    if shape is None or not all(_is_plain(item, graph) for item in items):
        return None
    if any(item is Ellipsis for item in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - sum(x is not None and x is not Ellipsis for x in items))
    items += [slice(None)] * (len(shape) - sum(x is not None for x in items))
    source = source_of(node)
    moved, dim, part, after = 0, 0, layout, 0
    for item in items:
        if item is not None and item != slice(None) and graph.is_batch(source, dim):
            return None  # the batch is taken apart
        if item is None or isinstance(item, slice):
            if item is not None and graph.is_batch(source, dim):
                graph.move_batch(node, after)
            after += 1
        if item is not None and dim == layout.dim:
            if not isinstance(item, slice):
                return None
            taken = _slice(node, graph, layout, item)
            if taken is None:
                return _hard_coded(node)
            part = taken
        elif item is not None and _depends(item, graph):
            return None
        if dim < layout.dim or (dim == layout.dim and item is None):
            moved += item is None or isinstance(item, slice)
        dim += item is not None
    return part.at(moved)


def _slice(node: fx.Node, graph: ChannelGraph, layout: Layout, item: slice) -> Layout | None:
    """The channels start … stop of a layout, whose ends follow from widths; None where they are written out."""
    size = layout.size
    if item.step not in (None, 1):
        whole = item.start in (None, 0) and item.stop is None and isinstance(item.step, int) and item.step > 1
        return layout.in_blocks(item.step) if whole and size % item.step == 0 else None
    start, stop = _place(graph, item.start, size, 0), _place(graph, item.stop, size, size)
    if start is None or stop is None or start >= stop:
        return None
    before, part = layout.sliced(0, start), layout.sliced(start, stop)
    if before is None or part is None:
        return None
    for number, to in ((item.start, before), (item.stop, Layout(layout.dim, (*before.given, *part.given)))):
        if number is None or (number is item.start and start == 0):
            continue
        form = graph.form(number)
        assert form is not None
        if number is item.stop and stop >= size and (form.is_plain() or form.value() > size):
            continue  # all that there are
        wanted = Form.of_layout(to) - Form.of_layout(layout) if form.value() < 0 else Form.of_layout(to)
        if not graph.demand(node, number, wanted):
            return None
    return part


def _place(graph: ChannelGraph, number: Any, size: int, default: int) -> int | None:
    form = None if number is None else graph.form(number)
    if number is None or form is None:
        return default if number is None else None
    value = form.value()
    return min(value, size) if value >= 0 else max(value + size, 0)


def _is_plain(item: Any, graph: ChannelGraph) -> bool:
    """Whether an index's item is a number or a slice, not a tensor."""
    if isinstance(item, slice):
        return all(x is None or graph.form(x) is not None for x in (item.start, item.stop, item.step))
    return item is None or item is Ellipsis or graph.form(item) is not None


def _depends(item: Any, graph: ChannelGraph) -> bool:
    parts = (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)
    return any(graph.depends(part) for part in parts)
