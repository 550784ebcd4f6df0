"""What views a tensor in another shape: flattened, channels in groups, groups as channels."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx, nn

from ....tracing.graph import shape_of
from ...graph import ChannelGraph
from ...layouts import Layout
from ...nodes import place
from ...numbers.forms import Form, layout_parts, repeated
from ...parameters import reshaped
from ..registry import known_layout, not_known, rule_for, source_of


@rule_for(
    modules=(nn.Flatten, nn.Unflatten),
    functions=(torch.flatten, torch.reshape, torch.unflatten),
    methods="flatten view reshape unflatten view_as reshape_as",
)
def _view(node: fx.Node, graph: ChannelGraph) -> None:
    """The dimension whose size follows from the widths holds the channels; written out, it would hard-code them."""
    source = source_of(node)
    shape, out, layout = shape_of(source), shape_of(node), known_layout(source, graph)
    if shape is None or out is None or layout is None:
        return not_known(node, graph)
    if (values := reshaped(node, graph)) is not None:
        return graph.carry(node, values)
    view = _View.of(shape, out, layout.dim)
    sizes = _asked(node, len(shape), graph)
    dim = None if view is None else _channel_dim(view, sizes, graph)
    if view is None or dim is None or (sizes is not None and len(sizes) != len(out)):
        return graph.fix(node, _in_the_way(node, out, view, sizes))
    viewed = view.layout(layout, dim)
    if viewed is None:
        return graph.fix(node, _torn(node))
    if sizes is not None:
        others = [size for i, size in enumerate(sizes) if i != dim]
        asked = sizes[dim]
        if (asked != -1 and not graph.demand(node, asked, Form.of_layout(viewed))) or any(map(graph.depends, others)):
            return graph.fix(node, _in_the_way(node, out, view, sizes))
    return graph.carry(node, viewed)


def _asked(node: fx.Node, rank: int, graph: ChannelGraph) -> list[Any] | None:
    """The sizes that a view asks for, each -1, a number, or a node that yields one; None where it merges dimensions."""
    if graph.operation(node) in ("Flatten", "flatten"):
        return None
    return _unflattened(node, rank, graph) or _sizes(node, graph)


def _unflattened(node: fx.Node, rank: int, graph: ChannelGraph) -> list[Any] | None:
    """The sizes that `unflatten(dim, sizes)` asks for, open for all other dimensions; None for other views."""
    if graph.operation(node) == "Unflatten":
        module: Any = graph.traced.module(node)
        dim, sizes = module.dim, module.unflattened_size
    elif graph.operation(node) == "unflatten" and len(node.args) == 3:
        dim, sizes = node.args[1:]
    else:
        return None
    if not isinstance(dim, int) or not isinstance(sizes, list | tuple):
        return None
    return [*[-1] * (dim % rank), *sizes, *[-1] * (rank - dim % rank - 1)]


def _sizes(node: fx.Node, graph: ChannelGraph) -> list[Any]:
    """The sizes among the arguments of `view` and `reshape`, or of the tensor that is to be resembled."""
    like = node.args[1] if str(node.target) in ("view_as", "reshape_as") else None
    if isinstance(like, fx.Node):
        known = graph.layouts.get(like)
        sizes: list[Any] = list(shape_of(like) or ())
        if known is not None:
            sizes[known.dim] = Form.of_layout(known)
        return sizes
    given: Any = node.args[1:] or (node.kwargs.get("shape", ()),)
    if len(given) == 1 and isinstance(given[0], tuple | list):
        given = given[0]
    if len(given) == 1 and isinstance(given[0], fx.Node) and given[0] in graph.sizes:
        graph.explain(node, given[0])
        return list(graph.sizes[given[0]])
    return list(given)


@dataclass(frozen=True)
class _View:
    """The dimensions before and after a view that hold the channels, and those beside them: products of sizes agree.

    Attributes:
        before: sizes of these dimensions before.
        at: which of them holds the channels.
        first: the first of these dimensions after the view.
        after: their sizes after the view.
    """

    before: tuple[int, ...]
    at: int
    first: int
    after: tuple[int, ...]

    @staticmethod
    def of(shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> "_View | None":
        """The smallest run of dimensions around `dim`; None where it takes in the batch and more than splits it."""
        i = j = 0
        while i < len(shape) and j < len(out):
            a, b = i + 1, j + 1
            while (mine := prod(shape[i:a])) != (theirs := prod(out[j:b])):
                if mine < theirs:
                    a += 1
                else:
                    b += 1
            if i <= dim < a:
                return _View(shape[i:a], dim - i, j, out[j:b])
            i, j = a, b
        return None

    @property
    def dims(self) -> range:
        """The dimensions after the view."""
        return range(self.first, self.first + len(self.after))

    def layout(self, layout: Layout, dim: int) -> Layout | None:
        """The layout after the view, whose channels lie in `dim`; None where channels are torn apart."""
        place = dim - self.first
        inner, behind = prod(self.before[self.at + 1 :]), prod(self.after[place + 1 :])
        outer, ahead = prod(self.before[: self.at]), prod(self.after[:place])
        found: Layout | None
        if behind % inner == 0:
            found = layout.in_blocks(behind // inner)
        elif inner % behind == 0:
            found = layout.spread(inner // behind)
        else:
            return None
        if found is None:
            return None
        if ahead % outer == 0:
            parts = layout_parts(found, ahead // outer)
            return None if parts is None else parts[0].at(dim)
        return repeated(found, outer // ahead).at(dim) if outer % ahead == 0 else None


def _channel_dim(view: _View, sizes: list[Any] | None, graph: ChannelGraph) -> int | None:
    """Which dimension after the view has a size that follows from the widths."""
    if sizes is None:
        return view.first if len(view.after) == 1 else None
    dims = [dim for dim in view.dims if dim < len(sizes)]
    forms = {dim: graph.form(sizes[dim]) for dim in dims}
    for wanted in (
        [dim for dim in dims if graph.depends(sizes[dim])],
        [dim for dim in dims if sizes[dim] == -1],
        [dim for dim in dims if (form := forms[dim]) is not None and form.attributes()][-1:],
    ):
        if wanted:
            return wanted[0] if len(wanted) == 1 else None
    return None


def _in_the_way(node: fx.Node, out: tuple[int, ...], view: _View | None, sizes: list[Any] | None) -> str:
    if len(out) == 2 and sizes is not None:
        return f"{node.name} hard-codes its shape{place(node)}; `x.flatten(1)` would not"
    if view is not None and sizes is not None:
        return f"{node.name} hard-codes its shape{place(node)}; a size computed from `x.shape` would not"
    return _torn(node)


def _torn(node: fx.Node) -> str:
    return f"{node.name} rearranges its shape{place(node)} so that channels are torn apart or mixed"


@rule_for(modules=(nn.PixelShuffle, nn.PixelUnshuffle), functions=(torch.pixel_shuffle, torch.pixel_unshuffle))
def _pixels(node: fx.Node, graph: ChannelGraph) -> None:
    """Blocks of r² channels become positions of one, or positions blocks of channels."""
    source = source_of(node)
    shape, out, layout = shape_of(source), shape_of(node), known_layout(source, graph)
    if shape is None or out is None or layout is None or layout.dim != 1 or len(shape) != 4:
        return not_known(node, graph)
    if shape[1] > out[1]:
        blocks = layout.in_blocks(shape[1] // out[1])
        if blocks is None:
            return graph.fix(
                node, f"{node.name} takes blocks of {shape[1] // out[1]} channels, which are not of one group"
            )
        return graph.carry(node, blocks)
    return graph.carry(node, layout.spread(out[1] // shape[1]))


@rule_for(modules=(nn.ChannelShuffle,), functions=(torch.channel_shuffle,))
def _shuffle(node: fx.Node, graph: ChannelGraph) -> None:
    """Groups of channels interleaved: (g, C / g) becomes (C / g, g)."""
    source = source_of(node)
    layout = known_layout(source, graph)
    if node.op == "call_module":
        groups: Any = graph.traced.module(node).groups
    else:
        groups = node.args[1] if len(node.args) > 1 else node.kwargs.get("groups")
    if layout is None or layout.dim != 1 or not isinstance(groups, int):
        return not_known(node, graph)
    parts = layout_parts(layout, groups)
    if parts is None:
        return graph.fix(node, f"{node.name} shuffles {groups} groups, which do not line up")
    return graph.carry(node, parts[0].spread(groups))
