"""What reads a tensor's shape, and arithmetic with the numbers that come of it."""

import operator
from typing import Any

import torch
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..numbers.forms import Form, is_decided
from .dimensions.shapes import transposed
from .registry import functions, known_layout, not_known, rule_for, source_of

_CARRIED = ("dtype", "device", "ndim", "is_cuda", "layout", "requires_grad")


@rule_for(functions=(getattr,), methods="size dim numel")
def _attribute(node: fx.Node, graph: ChannelGraph) -> None:
    """A tensor's sizes: numbers that follow from widths."""
    source = source_of(node)
    layout, shape = known_layout(source, graph), shape_of(source)
    name = node.args[1] if node.op == "call_function" else node.target
    if (
        source is None
        or layout is None
        or shape is None
        or name in _CARRIED
        or name == "dim"
        or transposed(node, name, graph)
    ):
        return None
    known = {each.dim: Form.of_layout(each) for each in graph.all_along(source)}
    sizes = tuple(known.get(dim) or Form.of_number(n) for dim, n in enumerate(shape))
    if name == "shape" or (name == "size" and len(node.args) + len(node.kwargs) == 1):
        graph.sizes[node] = sizes
        return None
    if name == "size":
        return graph.follow_sizes(node, sizes, node.args[1] if len(node.args) > 1 else node.kwargs.get("dim"))
    return not_known(node, graph)


_ARITHMETIC: dict[Any, str] = {
    **dict.fromkeys((operator.add, torch.add, operator.iadd), "add"),
    **dict.fromkeys((operator.sub, torch.sub, operator.isub), "sub"),
    **dict.fromkeys((operator.mul, torch.mul, operator.imul), "mul"),
    **dict.fromkeys((operator.floordiv, torch.floor_divide), "floordiv"),
}


def follow_number(node: fx.Node, graph: ChannelGraph) -> None:
    """Arithmetic with numbers: what stays a linear form of the widths is followed."""
    operation = _ARITHMETIC.get(node.target)
    if len(node.args) != 2 or node.kwargs or operation is None:
        return None
    if operation == "add" and (joined := _joined(node, graph)) is not None:
        return graph.keep_sizes(node, joined)
    a, b = map(graph.form, node.args)
    if a is None or b is None:
        return None
    if operation in ("add", "sub"):
        graph.explain(node, *node.args)
    else:  # an attribute that counts something else, groups for example
        a, b = (form if any(True for _ in form.channels()) else Form.of_number(form.value()) for form in (a, b))
    found = _combined(operation, a, b)
    if found is not None:
        graph.keep_number(node, found)
    return None


def _combined(operation: str, a: Form, b: Form) -> Form | None:
    if operation in ("add", "sub"):
        return a + b if operation == "add" else a - b
    if operation == "mul":
        a, b = (a, b) if b.is_plain() else (b, a)
        return a * b.value() if b.is_plain() else None
    divides = b.is_plain() and b.value() != 0 and a.value() % b.value() == 0
    return a.over(b.value()) if divides else None


def _joined(node: fx.Node, graph: ChannelGraph) -> tuple[Form, ...] | None:
    """The numbers of two shapes one after the other."""
    found: list[Form] = []
    for value in node.args:
        known = graph.sizes.get(value) if isinstance(value, fx.Node) else None
        if known is None and isinstance(value, fx.Node):
            known = _plain_sizes(value.meta.get("value"))
        if known is None and isinstance(value, tuple | list):
            forms = [graph.form(item) for item in value]
            known = None if any(form is None for form in forms) else tuple(form for form in forms if form is not None)
        if known is None:
            return None
        found += known
    return tuple(found)


def _plain_sizes(value: object) -> tuple[Form, ...] | None:
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return tuple(map(Form.of_number, value))
    return None


@rule_for(functions=functions(operator, "eq ne lt le gt ge"))
def _comparison(node: fx.Node, graph: ChannelGraph) -> None:
    """Numbers that compare alike at any width leave nothing to decide."""
    form = graph.form(node.args[0])
    other = graph.form(node.args[1])
    if form is None or other is None or shape_of(node) is not None:
        return not_known(node, graph)
    name = graph.operation(node)
    equal = name in ("eq", "ne") and form.value() == other.value()
    if is_decided(name, (form - other).resolved(graph.attributes)) or (
        equal and graph.demand(node, node.args[1], form)
    ):
        graph.explain(node, *node.args)
    return None


@rule_for(functions=functions(operator, "floordiv"))
def _floor_division(node: fx.Node, graph: ChannelGraph) -> None:
    if shape_of(node) is None:
        follow_number(node, graph)
    else:
        not_known(node, graph)
