"""The graph of evaluation found in that of training."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import fx

from ...errors import NetworkError


def merge_modes(graph: fx.Graph, evaluated: fx.Graph) -> Any:
    """Finds the graph of evaluation in that of training; arguments that are the mode itself are read at run time.

    Returns:
        The output of evaluation in nodes of `graph`; None where both modes give the same.
    """
    found: dict[fx.Node, fx.Node] = {}
    candidates = iter(list(graph.nodes))
    for node in evaluated.nodes:
        if node.target is OrderedDict:
            found[node] = _container(graph, node, found)
            continue
        for twin in candidates:
            modes = _mode_arguments(node, twin, found)
            if node.op == "output" or modes is not None:
                break
        else:
            raise NetworkError(
                "the network's forward computes in evaluation what it does not compute in training; give it one path"
            )
        if node.op == "output":
            break
        assert modes is not None
        found[node] = twin
        if modes:
            _read_mode(graph, twin, modes)
    outputs = [next(n for n in reversed(g.nodes) if n.op == "output") for g in (graph, evaluated)]
    result = fx.map_arg(outputs[1].args[0], found.__getitem__)
    same = len(found) == len([n for n in graph.nodes if not _is_mode(n)]) - 1 and str(result) == str(outputs[0].args[0])
    return None if same else result


def _container(graph: fx.Graph, node: fx.Node, found: Mapping[fx.Node, fx.Node]) -> fx.Node:
    """The node of `graph` that puts the same tensors into an ordered dict, made where training returns others."""
    for twin in graph.nodes:
        if _mode_arguments(node, twin, found) is not None:
            return twin
    with graph.inserting_before(next(n for n in reversed(graph.nodes) if n.op == "output")):
        return graph.node_copy(node, found.__getitem__)


def _mode_arguments(node: fx.Node, twin: fx.Node, found: Mapping[fx.Node, fx.Node]) -> list[int | str] | None:
    """Which arguments are False in evaluation and True in training; None if the nodes do different things."""
    if (node.op, node.target) != (twin.op, twin.target) or len(node.args) != len(twin.args):
        return None
    if node.kwargs.keys() != twin.kwargs.keys() or any(source not in found for source in node.all_input_nodes):
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


def _read_mode(graph: fx.Graph, node: fx.Node, arguments: list[int | str]) -> None:
    with graph.inserting_before(node):
        # The stack's keys count repeated calls ("block@1"), its values start with the plain path.
        owner = next(reversed((node.meta.get("nn_module_stack") or {"": ("",)}).values()))[0]
        mode = graph.get_attr(f"{owner}.training" if owner else "training")
    node.args = tuple(mode if i in arguments else a for i, a in enumerate(node.args))
    node.kwargs = {key: mode if key in arguments else value for key, value in node.kwargs.items()}


def _is_mode(node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target).rpartition(".")[2] == "training"
