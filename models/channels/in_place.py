"""Operations that change their input: what reads that tensor afterwards is made a reader of the operation."""

from dataclasses import replace
from typing import Any

from torch import fx

from ..tracing.graph import IN_PLACE_FUNCTIONS, TracedNetwork
from ..tracing.mode_graphs import ModeGraph


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
        for user in [user for user in changed.users if order[user] > order[node] and _runs_with(user, node, traced)]:
            user.replace_input_with(changed, node)
            shares = user.meta.get("shares", ())
            user.meta["shares"] = [node if source is changed else source for source in shares]
        evaluation, training = (_yielding(mode, changed, node) for mode in (traced.evaluation, traced.training))
        traced = replace(traced, evaluation=evaluation, training=training)
    return traced


def _runs_with(user: fx.Node, node: fx.Node, traced: TracedNetwork) -> bool:
    """Whether each mode that runs `user` runs `node`, too."""
    modes = [mode for mode in (traced.evaluation, traced.training) if mode is not None]
    if user.op == "output":
        return all(node in mode.nodes for mode in (traced.training,) if mode is not None)
    return all(node in mode.nodes or user not in mode.nodes for mode in modes)


def _yielding(mode: ModeGraph | None, old: fx.Node, new: fx.Node) -> ModeGraph | None:
    """A mode that yields one node in another's place, if it runs it."""
    if mode is None or new not in mode.nodes:
        return mode
    result: Any = fx.map_arg(mode.result, lambda node: new if node is old else node)
    return mode._replace(result=result)
