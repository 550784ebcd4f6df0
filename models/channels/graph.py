"""Follows channels through a traced network: which layers write them, which carry them on, which read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from torch import fx
from torch.nn.utils import parametrize

from ..layers.kinds import has_channel_parameters, has_values_along
from ..tracing.graph import shape_of
from .blocks import Demand, blocks_of, settle
from .layouts import Channels, Layout, Segment
from .nodes import label, located
from .numbers.following import FollowedNumbers

Role = Literal["write", "read", "carry"]
# Of layers with a weight into which an E before them is folded.
READS = ("write", "read")


@dataclass
class ChannelGraph(FollowedNumbers):
    """What the rules found: each tensor's layout, and each node's role.

    Attributes:
        layouts: node → layout of the tensor it yields.
        roles: "write" for a layer that reads its input's channels and produces new ones, "read" for one that produces
            none that are followed, "carry" for an operation that treats each channel on its own and so works at any
            width. A node without a role touches fixed channels only.
        pieces: nodes that yield several tensors → the layout of each.
        followed: nodes whose rules were applied.
        held: paths of parameters and buffers that hold something for each channel → where.
        in_groups: paths of convolutions that write channels in groups, even where a group reads or writes only one.
        lost: nodes that yield channels which no layer wrote → what became of those that were written before.
        products: nodes that yield sums of products → number of these without channels, and the channels' layouts.
        second: nodes whose tensors hold a value for each two channels of one set, and what is carried of them → the
            layout of the other dimension.
    """

    in_groups: set[str] = field(default_factory=set)
    layouts: dict[fx.Node, Layout] = field(default_factory=dict)
    roles: dict[fx.Node, Role] = field(default_factory=dict)
    pieces: dict[fx.Node, tuple[Layout, ...]] = field(default_factory=dict)
    followed: set[fx.Node] = field(default_factory=set)
    held: dict[str, Layout] = field(default_factory=dict)
    lost: dict[fx.Node, str] = field(default_factory=dict)
    products: dict[fx.Node, tuple[int, tuple[Layout, ...]]] = field(default_factory=dict)
    second: dict[fx.Node, Layout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        read = [str(node.target) for node in self.nodes if node.op == "get_attr"]
        self._read = {owner for owner, _, name in (target.rpartition(".") for target in read) if name != "training"}
        self._first: dict[str, tuple[Layout, ...]] = {}
        self._refused: dict[str, str] = {}
        self._demands: list[Demand] = []

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
        read = self._read_by(node, source, dim)
        written = Channels(shape[dim], writers=[node])
        self.layouts[node] = Layout(dim, (Segment(written),))
        self.roles[node] = "write"
        self.keep_batch(node)
        self._unite_calls(node, read, self.layouts[node])
        self.tell_sizes(node, self.layouts[node], read)
        if reason := self._unusual(node):
            read.fix(reason)
            written.fix(reason)
        return None

    def read(self, node: fx.Node, *, dim: int) -> None:
        """`node`'s layer reads its input along `dim`; what it yields has no channels that could be narrowed."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        read = self._read_by(node, source, dim)
        self.roles[node] = "read"
        self._unite_calls(node, read)
        self.tell_sizes(node, Layout(dim, ()), read)
        if reason := self._unusual(node):
            read.fix(reason)

    def _read_by(self, node: fx.Node, source: fx.Node, dim: int) -> Layout:
        read = self.layout(source, dim)
        for root in read.roots():
            root.readers.append(node)
        if source not in self.derived:
            self.layouts[source] = read
        return read

    def write_in_groups(self, node: fx.Node, groups: int) -> None:
        """`node`'s layer reads its input in equal groups of channels, each of which yields as many new ones."""
        self.write(node)
        if self.roles.get(node) == "write":
            self.in_groups.add(str(node.target))
            self._demands += [Demand(label(node), self.layout(source), groups) for source in (node.args[0], node)]

    def demand_blocks(self, node: fx.Node, groups: int) -> None:
        """The channels that `node` yields lie in equal groups, which stay as many."""
        if node in self.layouts:
            self._demands.append(Demand(label(node), self.layouts[node], groups))

    def carry(self, node: fx.Node, layout: Layout) -> None:
        """`node` treats each channel of `layout` on its own and yields the same channels."""
        shape, reason = shape_of(node), ""
        if shape is None or shape[layout.dim] != layout.size:
            return self.fix(node, f"{node.name} does not keep its channels")
        if node.op == "call_module":
            module = self.traced.module(node)
            if has_channel_parameters(module):
                self._unite_calls(node, layout)
            if has_values_along(module, layout.dim, len(shape)):
                self.tell_sizes(node, layout, None)
            hooked = str(node.target) in self.traced.hooked
            if next(module.parameters(), None) is not None or has_channel_parameters(module) or hooked:
                reason = self._unusual(node)
        if self.is_aliased(node) or (node.op == "call_module" and str(node.target) in self.aliased_modules):
            told = f"{label(node)} changes it in place while it is still in use; `inplace=False` would free it"
            reason = located(told, node)
        if reason:
            layout.fix(reason)
        self.layouts[node] = layout
        self.roles[node] = "carry"
        self.keep_batch(node)
        return None

    def keep_batch(self, node: fx.Node) -> None:
        """Where the batch is another dimension than the first: that with as many places before it, unless told.

        Dimensions of size 1 leave several: of one example the same dimension, of more the last, which has a size.
        """
        out = shape_of(node) or node.meta.get("shapes", ((),))[0]
        for source in node.all_input_nodes:
            at, shape = self._batch_at.get(source), shape_of(source) or source.meta.get("shapes", ((),))[0]
            if at is not None and node not in self._batch_at:
                before = prod(shape[:at])
                found = [i for i in range(len(out)) if prod(out[:i]) == before]
                stays = len(shape) == len(out) or (tuple(shape[at : at + 1]) == (1,) and at in found)
                self._batch_at[node] = at if stays else max(found, default=0)

    def carry_mixed(self, node: fx.Node, layout: Layout) -> None:
        """`node` yields the same channels, at any width, but each of them depends on others of the layout, too.

        Groups can be folded one after the other only where the original's channels of one do not depend on another's.
        """
        self.carry(node, layout)
        if node in self.layouts:
            self._mixed.append((node, layout))

    def carry_pairs(self, node: fx.Node, layout: Layout, second: Layout) -> None:
        """`node` yields a value for each two channels of one set, which lie along both dimensions."""
        self.carry(node, layout)
        if node in self.layouts:
            self.second[node] = second
            self._mixed.append((node, Layout(0, (*layout.given, *second.given))))

    def carry_as(self, node: fx.Node, source: fx.Node) -> None:
        """`node` treats each channel of `source` on its own, or each two."""
        if source in self.second:
            return self.carry_pairs(node, self.layouts[source], self.second[source])
        return self.carry(node, self.layouts[source])

    def all_along(self, node: fx.Node) -> list[Layout]:
        """The layouts of all dimensions of what a node yields that hold channels."""
        return [known[node] for known in (self.layouts, self.second) if node in known]

    def blocks_beside(self, node: fx.Node, tensor: fx.Node) -> tuple[int, ...]:
        """Of each segment of `tensor`, which the layer of `node` reads or writes, the blocks that it does not mix."""
        groups = getattr(self.traced.module(node), "groups", 1)
        blocks = blocks_of(self.layouts[tensor].segments, groups)
        return blocks or (1,) * len(self.layouts[tensor].segments)

    def settle_blocks(self) -> None:
        """Tells every set of channels in how many blocks it lies."""
        settle(self._demands)

    def fix_mixed(self) -> None:
        """Fixes groups whose channels are mixed with those of others; where they make one value, all but the widest."""
        for node, layout in self._mixed:
            mixed = list(dict.fromkeys(layout.roots()))
            if node in self.derived:
                free = [root for root in mixed if root.writers and not root.reason]
                mixed = sorted(free, key=lambda root: root.width, reverse=True)[1:]
            elif len(mixed) == 1:
                continue
            for root in mixed:
                root.fix(f"{label(node)} mixes the channels of several groups")

    def derive(self, node: fx.Node, layout: Layout) -> None:
        """`node` yields a value that the channels of `layout` determine, of the same shape at any width.

        The branch has a value of its own: what its channels give.
        """
        if self.is_aliased(node):
            return self.fix(node, f"{label(node)} changes it in place while it is still in use")
        self.derived[node] = (layout,)
        self._mixed.append((node, layout))
        for root in layout.roots():
            root.derived.append(node)
        return None

    def fix(self, node: fx.Node, reason: str) -> None:
        """Fixes all channels that `node` touches; what it yields starts anew, fixed as well.

        The reason is told with the place in the user's code; behind a ";" it may say what would free them.
        """
        reason = located(reason, node)
        sources = node.all_input_nodes
        if any(source in self.layouts or source in self.lost for source in sources):
            self.lost[node] = next((self.lost[source] for source in sources if source in self.lost), reason)
        for source in sources:
            for layout in self.layouts_of(source):
                layout.fix(reason)
            self.fix_numbers(source, reason)
        self.roles.pop(node, None)
        if self.calls(node) > 1:
            self._refuse(str(node.target), reason)

    def layouts_of(self, node: fx.Node) -> tuple[Layout, ...]:
        """The layouts of all tensors that a node yields."""
        layout = self.layouts.get(node)
        return self.pieces.get(node, ()) if layout is None else (layout,)

    def carry_pieces(self, node: fx.Node, layouts: Sequence[Layout]) -> None:
        """`node` yields several tensors, of these channels."""
        self.pieces[node] = tuple(layouts)
        self.roles[node] = "carry"
        self.keep_batch(node)

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

    def _unusual(self, node: fx.Node) -> str:
        """Why a layer with weights cannot be narrowed whatever its kind; empty if it can."""
        if node.op != "call_module":
            return ""
        name, module = str(node.target), self.traced.module(node)
        if name in self.traced.hooked:
            told = f"{name} has a forward hook that changes what it is given or yields"
            return f"{told}; without it while branches are there, it is free"
        if name in self._refused:
            return self._refused[name]
        if name in self._read:
            return f"the code reads {name}'s tensors; calling the layer alone would free it"
        if parametrize.is_parametrized(module):
            return f"{name} is parametrized"
        for parameter in module._parameters.values():
            owners = {path.rpartition(".")[0] for path in self.paths_of(parameter)}
            others = {owner for owner in owners if self.traced.modules.get(owner) is not module}
            if others:
                other = min(others) or "the network itself"
                return f"{name} shares weights with {other}; called as one layer, they would be free"
        if node.kwargs or (len(node.args) != 1 and self.roles.get(node) != "read"):  # a state may be given
            return located(f"{name} is called in an unusual way; with one tensor alone it would not be", node)
        return ""
