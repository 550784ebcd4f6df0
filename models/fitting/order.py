"""The order in which a branched network is fitted: layers that are called more than once see all of their calls."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from torch import fx

from ..branches.calls import is_fitted
from ..channels.graph import ChannelGraph


def fitting_order(nodes: Sequence[fx.Node], graph: ChannelGraph) -> list[list[fx.Node]]:
    """The nodes of a branched graph with inputs first, all calls of one fitted module in one bundle.

    Where one call depends on another, as in a layer that is applied to what it yields, each is a bundle of its own;
    so is each node of a network that changes tensors in place, whose order counts.
    """
    if any(_stays_in_place(node, graph) for node in graph.nodes):
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
