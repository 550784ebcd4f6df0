"""The graphs of both modes as one: what they have in common once, what either does alone beside it."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import fx


class ModeGraph(NamedTuple):
    """What one mode runs of a graph.

    Attributes:
        nodes: what it runs, in the graph's order.
        result: what it yields, in nodes of the graph.
    """

    nodes: frozenset[fx.Node]
    result: Any


def merge_modes(graph: fx.Graph, evaluated: fx.Graph) -> tuple[fx.Graph, ModeGraph | None, ModeGraph | None]:
    """Finds the graph of evaluation in that of training, and adds what is not there.

    Arguments that are False in evaluation and True in training are the mode itself: they are read at run time.

    Returns:
        `graph`, which yields what training does; what evaluation and what training run of it, None where both modes
        run all of it.
    """
    found: dict[fx.Node, fx.Node] = {}
    ahead = [node for node in graph.nodes if node.op != "output"]
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    trained, position, modes = {*ahead}, 0, set()
    arguments: list[int | str]
    for node in evaluated.nodes:
        if node.op == "output":
            break
        match = _match(node, ahead[position:], found)
        if match is None:
            with graph.inserting_before(ahead[position] if position < len(ahead) else output):
                twin, arguments = graph.node_copy(node, found.__getitem__), []
        else:
            twin, arguments = match
            position = ahead.index(twin, position) + 1
        found[node] = twin
        twin.meta.update({key: fx.map_arg(node.meta[key], found.__getitem__) for key in _FLOW if key in node.meta})
        if arguments:
            modes.add(_read_mode(graph, twin, arguments))
    result = fx.map_arg(next(reversed(evaluated.nodes)).args[0], found.__getitem__)
    mine = {*found.values()}
    if mine == trained and str(result) == str(output.args[0]):
        return graph, None, None
    return graph, ModeGraph(frozenset(mine | modes), result), ModeGraph(frozenset(trained | modes), output.args[0])


_FLOW = ("shape", "shapes", "value", "shares")


def _match(
    node: fx.Node, candidates: Iterable[fx.Node], found: Mapping[fx.Node, fx.Node]
) -> tuple[fx.Node, list[int | str]] | None:
    """The first of the candidates that does the same, and which of its arguments are the mode."""
    for twin in candidates:
        if (node.op, node.target) == (twin.op, twin.target):
            modes = _mode_arguments(node, twin, found)
            if modes is not None:
                return twin, modes
    return None


def _mode_arguments(node: fx.Node, twin: fx.Node, found: Mapping[fx.Node, fx.Node]) -> list[int | str] | None:
    """Which arguments are False in evaluation and True in training; None if the nodes do different things."""
    if len(node.args) != len(twin.args) or node.kwargs.keys() != twin.kwargs.keys():
        return None
    mine, theirs = _arguments(node), _arguments(twin)
    modes: list[int | str] = []
    for key, value in mine.items():
        if value is False and theirs[key] is True:
            modes.append(key)
        elif str(fx.map_arg(value, found.__getitem__)) != str(theirs[key]):
            return None
    return modes


def _arguments(node: fx.Node) -> dict[int | str, Any]:
    arguments: dict[int | str, Any] = dict(enumerate(node.args))
    arguments.update(node.kwargs)
    return arguments


def _read_mode(graph: fx.Graph, node: fx.Node, arguments: list[int | str]) -> fx.Node:
    with graph.inserting_before(node):
        owner = node.meta.get("owner", "")
        mode = graph.get_attr(f"{owner}.training" if owner else "training")
    node.args = tuple(mode if i in arguments else a for i, a in enumerate(node.args))
    node.kwargs = {key: mode if key in arguments else value for key, value in node.kwargs.items()}
    return mode
