"""Follows channels through a traced network: which layers write them, which carry them on, which read them."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ..layers.narrowing import has_channel_parameters, has_hooks
from ..tracing.graph import IN_PLACE_FUNCTIONS, TracedNetwork, shape_of
from .layouts import Channels, Layout, Segment

Role = Literal["write", "carry"]


@dataclass
class ChannelGraph:
    """What the rules found: each tensor's layout, and each node's role.

    Attributes:
        traced: the network's graph.
        layouts: node → layout of the tensor it yields.
        roles: "write" for a layer that reads its input's channels and produces new ones, "carry" for an operation that
            treats each channel on its own and so works at any width. A node without a role touches fixed channels only.
        shapes: nodes that yield a tensor's shape → that tensor's layout.
        lost: nodes that yield channels which no layer wrote → what became of those that were written before.
    """

    traced: TracedNetwork
    layouts: dict[fx.Node, Layout] = field(default_factory=dict)
    roles: dict[fx.Node, Role] = field(default_factory=dict)
    shapes: dict[fx.Node, Layout] = field(default_factory=dict)
    lost: dict[fx.Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = {node: i for i, node in enumerate(self.traced.graph.nodes)}
        called = [node for node in self.traced.graph.nodes if node.op == "call_module"]
        self._calls = Counter(str(node.target) for node in called)
        read = [str(node.target) for node in self.traced.graph.nodes if node.op == "get_attr"]
        self._read = {target.rpartition(".")[0] for target in read}
        self._owners = _parameter_owners(self.traced.network)
        self._alone: set[fx.Node] = set()
        self._first: dict[str, tuple[Layout, ...]] = {}
        self._refused: dict[str, str] = {}
        self.aliased_modules = {str(node.target) for node in called if self.is_aliased(node)}

    def layout(self, value: object, dim: int = 1) -> Layout:
        """The layout of a node's tensor along `dim`; channels that nothing explains are fixed ones."""
        known = self.layouts.get(value) if isinstance(value, fx.Node) else None
        if known is not None and known.dim == dim:
            return known
        if known is not None:
            known.fix(f"its channels are used along another dimension by {value}")
        shape = shape_of(value)
        assert shape is not None, f"{value} is not a tensor"
        reason = self.lost.get(value, "") if isinstance(value, fx.Node) else ""
        reason = reason or "not produced by a layer that can be narrowed"
        return Layout(dim, (Segment(Channels(shape[dim], reason=reason)),))

    def write(self, node: fx.Node, *, dim: int = 1) -> None:
        """`node`'s layer reads its input along `dim` and yields new channels there."""
        source = node.args[0]
        shape = shape_of(node)
        if not isinstance(source, fx.Node) or shape is None:
            return self.fix(node, "is called in an unusual way")
        read = self.layout(source, dim)
        written = Channels(shape[dim], writers=[node])
        for root in read.roots():
            root.readers.append(node)
        self.layouts[source] = read
        self.layouts[node] = Layout(dim, (Segment(written),))
        self.roles[node] = "write"
        self._unite_calls(node, read, self.layouts[node])
        if reason := self._unusual(node):
            read.fix(reason)
            written.fix(reason)
        return None

    def carry(self, node: fx.Node, layout: Layout) -> None:
        """`node` treats each channel of `layout` on its own and yields the same channels."""
        shape, reason = shape_of(node), ""
        if shape is None or shape[layout.dim] != layout.size:
            return self.fix(node, f"{node.name} does not keep its channels")
        if node.op == "call_module":
            module = self.traced.module(node)
            if has_channel_parameters(module):
                self._unite_calls(node, layout)
            if next(module.parameters(), None) is not None or has_channel_parameters(module) or has_hooks(module):
                reason = self._unusual(node)
        if self.is_aliased(node) or (node.op == "call_module" and str(node.target) in self.aliased_modules):
            reason = f"{label(node)} changes it in place while it is still in use"
        if reason:
            layout.fix(reason)
        self.layouts[node] = layout
        self.roles[node] = "carry"
        return None

    def fix(self, node: fx.Node, reason: str) -> None:
        """Fixes all channels that `node` touches; what it yields starts anew, fixed as well."""
        sources = node.all_input_nodes
        if any(source in self.layouts or source in self.lost for source in sources):
            self.lost[node] = next((self.lost[source] for source in sources if source in self.lost), reason)
        for source in sources:
            for known in (self.layouts.get(source), self.shapes.get(source)):
                if known is not None:
                    known.fix(reason)
        self.roles.pop(node, None)
        if self.calls(node) > 1:
            self._refuse(str(node.target), reason)

    def calls(self, node: fx.Node) -> int:
        """How often the module is called that `node` calls."""
        return self._calls[str(node.target)] if node.op == "call_module" else 1

    def _unite_calls(self, node: fx.Node, *layouts: Layout) -> None:
        """A layer has one width on each side, however often it is called."""
        first = self._first.setdefault(str(node.target), layouts)
        if not all(mine.unite(theirs) for mine, theirs in zip(first, layouts, strict=True)):
            name = str(node.target)
            self._refuse(name, f"{name} is called {self._calls[name]} times, on tensors whose channels do not line up")

    def _refuse(self, name: str, reason: str) -> None:
        """One of the module's calls fixes its channels: so all are fixed, those before and those to come."""
        self._refused.setdefault(name, reason)
        for layout in self._first.get(name, ()):
            layout.fix(reason)

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """The tensors among a node's inputs, in order."""
        return [source for source in node.all_input_nodes if shape_of(source) is not None]

    def is_aliased(self, node: fx.Node) -> bool:
        """Whether `node` changes a tensor in place that something later still reads."""
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
        users = {user for tensor in found - {node} for user in tensor.users}
        if any(self._order[user] > self._order[node] for user in users):
            return True
        self._alone.add(node)
        return False

    def is_in_place(self, node: fx.Node) -> bool:
        """Whether `node` changes its first argument."""
        if node.op == "call_module":
            return bool(getattr(self.traced.module(node), "inplace", False))
        if node.op == "call_method":
            return is_in_place_method(str(node.target))
        return node.target in IN_PLACE_FUNCTIONS or node.kwargs.get("inplace") is True

    def operation(self, node: fx.Node) -> str:
        """The name of what a node calls: a module's type, a function's or method's name."""
        if node.op == "call_module":
            return type(self.traced.module(node)).__name__
        return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")

    def _unusual(self, node: fx.Node) -> str:
        """Why a layer with weights cannot be narrowed whatever its kind; empty if it can."""
        if node.op != "call_module":
            return ""
        name, module = str(node.target), self.traced.module(node)
        if has_hooks(module):
            return f"{name} has forward hooks"
        if name in self._refused:
            return self._refused[name]
        if name in self._read:
            return f"the code reads {name}'s tensors"
        if name in self.traced.sized:
            return f"the code reads {name}'s size"
        if parametrize.is_parametrized(module):
            return f"{name} is parametrized"
        for parameter in module.parameters():
            others = self._owners[id(parameter)] - {name}
            if others:
                return f"{name} shares weights with {min(others) or 'the network itself'}"
        if len(node.args) != 1 or node.kwargs:
            return f"{name} is called in an unusual way"
        return ""


def label(node: fx.Node) -> str:
    """How a message names a node: its path or method, or the name of a call's result."""
    return node.target if isinstance(node.target, str) else node.name


def is_in_place_method(name: str) -> bool:
    """Whether a tensor method follows torch's convention for changing its tensor (`relu_`, not `__add__`)."""
    return name.endswith("_") and not name.endswith("__")


def _parameter_owners(network: nn.Module) -> dict[int, set[str]]:
    owners: dict[int, set[str]] = defaultdict(set)
    for name, module in network.named_modules(remove_duplicate=False):
        for parameter in module._parameters.values():
            if isinstance(parameter, Tensor):
                owners[id(parameter)].add(name)
    return owners
