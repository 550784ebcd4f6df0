"""Tensors made of parameters alone, such as positions: arithmetic tells which of their dimensions holds channels."""

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from ..parameters import hold
from .registry import follow


def claimed(node: fx.Node, dim: int, graph: ChannelGraph) -> Layout | None:
    """The layout of a tensor whose dimension `dim` must hold channels; None where it does not.

    Where it was made of parameters alone, of which nothing told yet which of their dimensions are channels, `dim` is
    followed back to them, and their channels by the rules forth again.
    """
    known = graph.layouts.get(node)
    if known is None and not graph.has_batch(node) and _hold_parameters(node, dim, graph):
        made = _ancestors(node, graph)
        for source in made:
            if source.op != "get_attr" and source not in graph.layouts:
                follow(source, graph)
        known = graph.layouts.get(node)
        _fix_used_otherwise(made, graph)
    return known if known is not None and known.dim == dim else None


def _hold_parameters(node: fx.Node, dim: int, graph: ChannelGraph) -> bool:
    """Makes channels of what becomes `dim` in the parameters that a tensor was made of."""
    parameters: dict[fx.Node, int] = {}
    if not _follow_back(node, dim, parameters) or not parameters:
        return False
    return all(
        hold(source, at, graph) if source not in graph.layouts else graph.layouts[source].dim == at
        for source, at in parameters.items()
    )


def _ancestors(node: fx.Node, graph: ChannelGraph) -> list[fx.Node]:
    """The node and what it was made of, but for what an input has a part in, in forward order."""
    found, rest = {node}, [node]
    while rest:
        inputs = rest.pop().all_input_nodes
        new = [source for source in inputs if source not in found and not graph.has_batch(source)]
        found.update(new)
        rest += new
    return graph.in_order(found)


def _fix_used_otherwise(made: list[fx.Node], graph: ChannelGraph) -> None:
    """Fixes channels of parameters that rules have taken for something without channels before."""
    inside = set(made)
    read = {source.target for source in made if source.op == "get_attr"}
    again = [x for x in graph.nodes if x.op == "get_attr" and x.target in read]
    sources = {*again, *(x for x in made if shape_of(x) is not None)}
    rest = [(source, user) for source in sources for user in source.users if user not in inside]
    while rest:
        source, user = rest.pop()
        if user not in graph.followed:
            continue
        if shape_of(user) is None and "shapes" not in user.meta:
            follow(user, graph)
            if user not in graph.numbers:
                rest += [(source, other) for other in user.users if user in graph.sizes]
                continue
        for layout in graph.layouts_of(source):
            layout.fix(f"{label(user)} uses it, too, where it is taken for no channels")


def _follow_back(node: fx.Node, dim: int, parameters: dict[fx.Node, int]) -> bool:
    """Notes which dimension of which parameter becomes `dim` of a tensor; False where the way is not known."""
    if node.op == "get_attr":
        return parameters.setdefault(node, dim) == dim
    shape, back = shape_of(node), _WAYS_BACK.get(node.target)
    sources = [source for source in node.all_input_nodes if shape_of(source) is not None]
    if shape is None or back is None or node.op == "call_module" or not sources:
        return False
    for source in sources:
        held = shape_of(source) or ()
        at = back(node, held, shape, dim)
        if at is None or not 0 <= at < len(held):
            return False
        if held[at] == shape[dim] and not _follow_back(source, at, parameters):
            return False
    return True


_WayBack = Callable[[fx.Node, tuple[int, ...], tuple[int, ...], int], int | None]


def _broadcast(node: fx.Node, shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> int | None:
    return dim - (len(out) - len(shape))


def _permuted(node: fx.Node, shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> int | None:
    axes: Any = node.args[1:]
    axes = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
    return axes[dim] % len(shape) if len(axes) == len(shape) else None


def _transposed(node: fx.Node, shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> int | None:
    axes: Any = node.args[1:]
    if len(axes) != 2 or not all(isinstance(axis, int) for axis in axes):
        return None
    a, b = (axis % len(shape) for axis in axes)
    return {a: b, b: a}.get(dim, dim)


def _viewed(node: fx.Node, shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> int | None:
    """The dimension of the same size with as many places before it."""
    ahead = prod(out[:dim])
    same = [at for at, size in enumerate(shape) if size == out[dim] and prod(shape[:at]) == ahead]
    return same[0] if len(same) == 1 else None


def _indexed(node: fx.Node, shape: tuple[int, ...], out: tuple[int, ...], dim: int) -> int | None:
    items: Any = node.args[1]
    before, after = 0, 0
    for item in items if isinstance(items, tuple) else (items,):
        if item is Ellipsis or isinstance(item, fx.Node):
            return None
        if after == dim and not isinstance(item, int):
            return before if isinstance(item, slice) else None
        before += item is not None
        after += item is None or isinstance(item, slice)
    return before + dim - after


_WAYS_BACK: dict[Any, _WayBack] = {
    **dict.fromkeys((torch.cat, torch.concat, F.interpolate, torch.roll, torch.flip, "roll", "flip"), _broadcast),
    **dict.fromkeys((operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul), _broadcast),
    **dict.fromkeys(("add", "sub", "mul", "expand", "repeat"), _broadcast),
    **dict.fromkeys(("to", "float", "type", "type_as", "clone", "contiguous", "detach"), _broadcast),
    **dict.fromkeys((torch.permute, "permute"), _permuted),
    **dict.fromkeys((torch.transpose, "transpose"), _transposed),
    **dict.fromkeys(
        (torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, "reshape", "view", "flatten"), _viewed
    ),
    **dict.fromkeys(("unflatten", "squeeze", "unsqueeze"), _viewed),
    operator.getitem: _indexed,
}
