"""The nodes of a traced network: their order, where the batch is, what shares memory, how messages name them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, fx, nn

from ..layers.equivalences import function_of
from ..layers.kinds import behaves_as
from ..tracing.graph import TracedNetwork, shape_of
from .in_place import is_in_place, reading_results

_PLACED = re.compile(r" at \S+:\d+")


@dataclass
class TracedNodes:
    """What is known of a traced network's nodes before any channel is followed.

    Attributes:
        traced: the network's graph.
    """

    traced: TracedNetwork

    def __post_init__(self) -> None:
        self.traced = reading_results(self.traced)
        self._order = {node: i for i, node in enumerate(self.nodes)}
        called = [node for node in self.nodes if node.op == "call_module"]
        self._calls = Counter(str(node.target) for node in called)
        self._paths = _held_at(self.traced.network)
        self._batch: set[fx.Node] = set()
        self._batch_at: dict[fx.Node, int] = {}
        for node in self.nodes:
            made_of_input = node.op == "placeholder" or not self._batch.isdisjoint(node.all_input_nodes)
            if made_of_input and "value" not in node.meta:  # numbers apart
                self._batch.add(node)
        self._alone: set[fx.Node] = set()
        self.aliased_modules = {str(node.target) for node in called if self.is_aliased(node)}

    @property
    def nodes(self) -> Iterable[fx.Node]:
        """The nodes of the network's graph, in forward order."""
        nodes: Iterable[fx.Node] = self.traced.graph.nodes
        return nodes

    def paths_of(self, tensor: Tensor | None) -> list[str]:
        """Every path of a parameter or buffer in the network."""
        return self._paths.get(id(tensor), [])

    def in_order(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The nodes in forward order."""
        return sorted(nodes, key=self._order.__getitem__)

    def has_batch(self, node: fx.Node) -> bool:
        """Whether an input has a part in what a node yields, one of whose dimensions then is the batch."""
        return node in self._batch

    def is_batch(self, node: fx.Node | None, dim: int) -> bool:
        """Whether dimension `dim` of what a node yields is the batch: the first, unless the code has moved it."""
        return node is not None and node in self._batch and dim == self._batch_at.get(node, 0)

    def move_batch(self, node: fx.Node, dim: int) -> None:
        """Tells that the batch is dimension `dim` of what a node yields."""
        self._batch_at[node] = dim

    def calls(self, node: fx.Node) -> int:
        """How often the module is called that `node` calls."""
        return self._calls[str(node.target)] if node.op == "call_module" else 1

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """The tensors among a node's inputs, in order."""
        return [source for source in node.all_input_nodes if shape_of(source) is not None]

    def is_aliased(self, node: fx.Node) -> bool:
        """Whether `node` changes a tensor in place that something later still reads, the network's own among them."""
        if node in self._alone or not self.is_in_place(node):
            return False
        alike, found = [node, *node.all_input_nodes[:1]], set()
        while alike:  # all tensors in the same memory, but for what `node` yields itself
            tensor = alike.pop()
            found.add(tensor)
            views = [] if tensor is node else [user for user in tensor.users if tensor in user.meta.get("shares", ())]
            # Nothing in this memory from before an operation that was alone in it is read after that operation.
            before = () if tensor in self._alone else tensor.meta.get("shares", ())
            alike += {*before, *views} - found
        if any(tensor.op == "get_attr" for tensor in found):
            return True
        users = {user for tensor in found - {node} for user in tensor.users}
        if any(self._order[user] > self._order[node] and self._may_meet(user, node) for user in users):
            return True
        self._alone.add(node)
        return False

    def _may_meet(self, user: fx.Node, node: fx.Node) -> bool:
        """Whether a mode runs both: dropped paths change a tensor in evaluation that only training reads later."""
        modes = (self.traced.evaluation, self.traced.training)
        return user.op == "output" or any(mode is None or {user, node} <= mode.nodes for mode in modes)

    def is_in_place(self, node: fx.Node) -> bool:
        """Whether `node` changes its first argument."""
        return is_in_place(node, self.traced)

    def operation(self, node: fx.Node) -> str:
        """The name of what a node calls: the type that a module behaves as, a function's or method's name."""
        if node.op == "call_module":
            return behaves_as(self.traced.module(node)).__name__
        return node.target if isinstance(node.target, str) else getattr(function_of(node.target), "__name__", "")


def place(node: fx.Node) -> str:
    """Where the user's code calls what a node does, as messages tell it."""
    known = node.meta.get("place", "")
    return f" at {known}" if known else ""


def located(reason: str, node: fx.Node) -> str:
    """A reason with the place in the user's code, before what would free the channels."""
    known = node.meta.get("place", "")
    if not known or _PLACED.search(reason):
        return reason
    told, free, rest = reason.partition("; ")
    return f"{told} at {known}{free}{rest}"


def label(node: fx.Node) -> str:
    """How a message names a node: its path or method, or the name of a call's result."""
    return node.target if isinstance(node.target, str) else node.name


def yields_tensors(node: object) -> bool:
    """Whether a node yields a tensor, or several."""
    return isinstance(node, fx.Node) and ("shape" in node.meta or "shapes" in node.meta)


def _held_at(network: nn.Module) -> dict[int, list[str]]:
    """Parameters and buffers, by id, and every path of theirs."""
    paths: dict[int, list[str]] = defaultdict(list)
    for path, module in network.named_modules(remove_duplicate=False):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(tensor, Tensor):
                paths[id(tensor)].append(f"{path}.{name}" if path else name)
    return paths
