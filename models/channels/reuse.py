"""Layers that are called more than once: what their calls share, and in which order they can be fitted."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from torch import fx

from .graph import ChannelGraph


def blended_alike(graph: ChannelGraph) -> dict[fx.Node, fx.Node]:
    """For every tensor that a layer reads, one that stands for all that must share its E.

    A layer has one weight for all its calls, so E is folded into it once: W' = P W E needs the same E before each call.
    """
    standing: dict[fx.Node, fx.Node] = {}

    def found(tensor: fx.Node) -> fx.Node:
        while standing[tensor] is not tensor:
            tensor = standing[tensor]
        return tensor

    first: dict[str, fx.Node] = {}
    for node, role in graph.roles.items():
        if role == "write":
            source = node.all_input_nodes[0]
            standing.setdefault(source, source)
            standing[found(source)] = found(first.setdefault(str(node.target), source))
    return {tensor: found(tensor) for tensor in standing}


def fitting_order(nodes: Sequence[fx.Node], graph: ChannelGraph) -> list[list[fx.Node]]:
    """The nodes of a branched graph with inputs first, all calls of one fitted module in one bundle.

    Where one call depends on another, as in a layer that is applied to what it yields, each is a bundle of its own;
    so is each node of a network that changes tensors in place, whose order counts.
    """
    if any(_stays_in_place(node, graph) for node in graph.traced.graph.nodes):
        return [[node] for node in nodes]
    return _bundled(nodes)


def _stays_in_place(node: fx.Node, graph: ChannelGraph) -> bool:
    """Whether the branched graph, too, changes a tensor in place; most operations it writes out of place."""
    return graph.is_in_place(node) and (node.op == "call_module" or graph.is_aliased(node))


def _bundled(nodes: Sequence[fx.Node]) -> list[list[fx.Node]]:
    calls = Counter(str(node.target) for node in nodes if is_fitted(node))
    order: list[list[fx.Node]] = []
    done: set[fx.Node] = set()
    rest = list(nodes)
    while rest:
        held: dict[str, list[fx.Node]] = defaultdict(list)
        before = len(done)
        for node in rest:
            if not done.issuperset(node.all_input_nodes):
                continue
            target = str(node.target)
            bundle = held[target] if is_fitted(node) else []
            bundle.append(node)
            if len(bundle) == calls.get(target, 1):
                order.append(bundle)
                done.update(held.pop(target, bundle))
        if len(done) == before:
            stuck = min(held.values(), key=lambda bundle: nodes.index(bundle[0]))
            calls[str(stuck[0].target)] = 1
        rest = [node for node in rest if node not in done]
    return order


def is_fitted(node: fx.Node) -> bool:
    """Whether a node of a branched graph calls what is fitted: P, E or a narrow layer."""
    return node.op == "call_module" and str(node.target).startswith(("compress.", "narrow.", "blend."))
