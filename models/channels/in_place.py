"""Operations that change their input: what reads that tensor afterwards is made a reader of the operation."""

from dataclasses import replace
from typing import Any

from torch import fx

from ..tracing.graph import IN_PLACE_FUNCTIONS, TracedNetwork


def is_in_place(node: fx.Node, traced: TracedNetwork) -> bool:
    """Whether `node` changes its first argument."""
    if node.op == "call_module":
        return bool(getattr(traced.module(node), "inplace", False))
    if node.op == "call_method":
        return is_in_place_method(str(node.target))
    return node.target in IN_PLACE_FUNCTIONS or node.kwargs.get("inplace") is True


def is_in_place_method(name: str) -> bool:
    """Whether a tensor method follows torch's convention for changing its tensor (`relu_`, not `__add__`)."""
    return name.endswith("_") and not name.endswith("__")


def reading_results(traced: TracedNetwork) -> TracedNetwork:
    """The same network with a graph in which each changed tensor is read from the operation that changed it last.

    Such an operation yields the tensor that it was given: the graph says the same, and goes on to say it where the
    operation is written out of place.
    """
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    for node in traced.graph.nodes:
        changed = node.args[0] if node.args else None
        if not isinstance(changed, fx.Node) or not is_in_place(node, traced) or "shape" not in node.meta:
            continue
        for user in [user for user in changed.users if order[user] > order[node]]:
            user.replace_input_with(changed, node)
            shares = user.meta.get("shares", ())
            user.meta["shares"] = [node if source is changed else source for source in shares]
        if traced.evaluation is not None:
            traced = replace(traced, evaluation=_replaced(traced.evaluation, changed, node))
    return traced


def _replaced(result: Any, old: fx.Node, new: fx.Node) -> Any:
    """A structure of nodes with one node in another's place."""
    return fx.map_arg(result, lambda node: new if node is old else node)
