"""Follows channels through a traced network: which layers write them, which carry them on, which read them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from ..layers.equivalences import function_of
from ..layers.kinds import behaves_as, has_channel_parameters, has_values_along
from ..tracing.graph import TracedNetwork, shape_of
from ..tracing.plain.classes import read_as
from ..tracing.recording.attributes import Attribute, AttributeNumber, Use
from .blocks import Demand, blocks_of, settle
from .in_place import is_in_place, reading_results
from .layer_sizes import size_of
from .layouts import Channels, Layout, Segment
from .numbers import Form, is_decided, make_equal

Role = Literal["write", "carry"]
_PLACED = re.compile(r" at \S+:\d+")
_INSTEAD = "computed from `x.shape` it would be free"


@dataclass
class ChannelGraph:
    """What the rules found: each tensor's layout, and each node's role.

    Attributes:
        traced: the network's graph.
        layouts: node → layout of the tensor it yields.
        roles: "write" for a layer that reads its input's channels and produces new ones, "carry" for an operation that
            treats each channel on its own and so works at any width. A node without a role touches fixed channels only.
        pieces: nodes that yield several tensors → the layout of each.
        numbers: nodes that yield a whole number which follows from widths → how.
        sizes: nodes that yield several numbers, a shape for example → each of them.
        attributes: numbers that the network's modules hold and that follow from widths → how.
        followed: nodes whose rules were applied.
        held: paths of parameters and buffers that hold something for each channel → where.
        in_groups: paths of convolutions that write channels in groups, even where a group reads or writes only one.
        lost: nodes that yield channels which no layer wrote → what became of those that were written before.
        products: nodes that yield sums of products → number of these without channels, and the channels' layouts.
        derived: nodes that yield a value, or several, that channels determine but which has none → of these channels.
        weighed: nodes and numbers that they read for their value, not as sizes.
    """

    traced: TracedNetwork
    in_groups: set[str] = field(default_factory=set)
    layouts: dict[fx.Node, Layout] = field(default_factory=dict)
    roles: dict[fx.Node, Role] = field(default_factory=dict)
    pieces: dict[fx.Node, tuple[Layout, ...]] = field(default_factory=dict)
    numbers: dict[fx.Node, Form] = field(default_factory=dict)
    sizes: dict[fx.Node, tuple[Form, ...]] = field(default_factory=dict)
    attributes: dict[Attribute, Form] = field(default_factory=dict)
    followed: set[fx.Node] = field(default_factory=set)
    held: dict[str, Layout] = field(default_factory=dict)
    lost: dict[fx.Node, str] = field(default_factory=dict)
    products: dict[fx.Node, tuple[int, tuple[Layout, ...]]] = field(default_factory=dict)
    derived: dict[fx.Node, tuple[Layout, ...]] = field(default_factory=dict)
    weighed: set[tuple[fx.Node, fx.Node]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.traced = reading_results(self.traced)
        self._order = {node: i for i, node in enumerate(self.nodes)}
        called = [node for node in self.nodes if node.op == "call_module"]
        self._calls = Counter(str(node.target) for node in called)
        read = [str(node.target) for node in self.nodes if node.op == "get_attr"]
        self._read = {owner for owner, _, name in (target.rpartition(".") for target in read) if name != "training"}
        self._paths = _held_at(self.traced.network)
        self._batch: set[fx.Node] = set()
        self._batch_at: dict[fx.Node, int] = {}
        for node in self.nodes:
            made_of_input = node.op == "placeholder" or not self._batch.isdisjoint(node.all_input_nodes)
            if made_of_input and "value" not in node.meta:  # numbers apart
                self._batch.add(node)
        self._alone: set[fx.Node] = set()
        self._first: dict[str, tuple[Layout, ...]] = {}
        self._refused: dict[str, str] = {}
        self._mixed: list[tuple[fx.Node, Layout]] = []
        self._demands: list[Demand] = []
        self._sizes_read = _sizes_read(self.traced)
        self._told: set[Attribute] = set()
        self._explained: set[tuple[fx.Node, object]] = set()
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
        if source not in self.derived:
            self.layouts[source] = read
        self.layouts[node] = Layout(dim, (Segment(written),))
        self.roles[node] = "write"
        self.keep_batch(node)
        self._unite_calls(node, read, self.layouts[node])
        self._tell_sizes(node, self.layouts[node], read)
        if reason := self._unusual(node):
            read.fix(reason)
            written.fix(reason)
        return None

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
                self._tell_sizes(node, layout, None)
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
        """Where the batch is another dimension than the first: that with as many places before it, unless told."""
        out = shape_of(node) or node.meta.get("shapes", ((),))[0]
        for source in node.all_input_nodes:
            at, shape = self._batch_at.get(source), shape_of(source) or node.meta.get("shapes", ((),))[0]
            if at is not None and node not in self._batch_at:
                before = prod(shape[:at])
                found = [i for i in range(len(out)) if prod(out[:i]) == before]
                self._batch_at[node] = at if len(shape) == len(out) else max(found, default=0)

    def carry_mixed(self, node: fx.Node, layout: Layout) -> None:
        """`node` yields the same channels, at any width, but each of them depends on others of the layout, too.

        Groups can be folded one after the other only where the original's channels of one do not depend on another's.
        """
        self.carry(node, layout)
        if node in self.layouts:
            self._mixed.append((node, layout))

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

    def derive_on(self, node: fx.Node) -> None:
        """`node` yields what is computed from values that channels determine, and from nothing else of theirs."""
        found = dict.fromkeys(layout for source in node.all_input_nodes for layout in self.derived.get(source, ()))
        if self.is_aliased(node):
            return self.fix_derived(node, f"{label(node)} changes it in place while it is still in use")
        self.derived[node] = tuple(found)
        return None

    def derive_number(self, node: fx.Node) -> None:
        """`node` yields a number that follows from widths, but is no linear form of them, such as a root."""
        for source in node.all_input_nodes:
            self._determine(source)
        found = dict.fromkeys(layout for source in node.all_input_nodes for layout in self.derived.get(source, ()))
        self.derived[node] = tuple(found)
        self._mixed.append((node, Layout(0, tuple(segment for layout in found for segment in layout.given))))
        self.explain(node, *node.all_input_nodes)

    def weigh(self, node: fx.Node) -> None:
        """The numbers that `node` reads are values: it multiplies with them or the like, and has none as a size."""
        for source in node.all_input_nodes:
            if source in self.numbers or self.is_derived_number(source):
                self._determine(source)
                self.weighed.add((node, source))
                self.explain(node, source)

    def is_derived_number(self, node: object) -> bool:
        """Whether a node yields a number that follows from widths as no linear form."""
        return node in self.derived and node not in self.numbers and not _yields_tensors(node)

    def _determine(self, source: fx.Node) -> None:
        """Makes a linear form of widths a value that channels determine, too."""
        if source in self.numbers and source not in self.derived:
            channels = self.numbers[source].resolved(self.attributes).channels()
            self.derived[source] = tuple(Layout(0, (Segment(each),)) for each in channels)

    def fix_derived(self, node: fx.Node, reason: str) -> None:
        """Fixes the channels that determine what `node` reads."""
        for source in node.all_input_nodes:
            for layout in self.derived.get(source, ()):
                layout.fix(reason)

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

    def fix_numbers(self, node: fx.Node, reason: str) -> None:
        """Fixes the channels that the numbers follow from which a node yields."""
        for form in (self.numbers.get(node, Form()), *self.sizes.get(node, ())):
            for channels in form.resolved(self.attributes).channels():
                channels.fix(reason)

    def form(self, value: object) -> Form | None:
        """How a number in a node's arguments follows from widths; None for what is no number."""
        if isinstance(value, Form):
            return value
        if isinstance(value, fx.Node):
            if value in self.numbers:
                return self.numbers[value]
            if value in self.derived:
                return None
            value = value.meta.get("value")
        return Form.of_number(value) if isinstance(value, int) and not isinstance(value, bool) else None

    def depends(self, value: object) -> bool:
        """Whether a number follows from widths."""
        form = self.form(value)
        return form is not None and any(True for _ in form.resolved(self.attributes).channels())

    def demand(self, node: fx.Node, value: object, form: Form) -> bool:
        """Makes a number in a node's arguments equal to `form` at any width, if that can be done."""
        given = self.form(value)
        if given is None or not make_equal(given, form, self.attributes):
            return False
        self.explain(node, value)
        return True

    def keep_number(self, node: fx.Node, form: Form) -> None:
        """`node` yields this number."""
        self.explain(node, *node.all_input_nodes)
        if form.terms:
            self.numbers[node] = form

    def keep_sizes(self, node: fx.Node, forms: tuple[Form, ...]) -> None:
        """`node` yields these numbers."""
        self.explain(node, *node.all_input_nodes)
        if any(form.terms for form in forms):
            self.sizes[node] = forms

    def follow_sizes(self, node: fx.Node, sizes: tuple[Form, ...], index: object) -> None:
        """`node` takes one or several of these numbers."""
        if isinstance(index, slice) and all(x is None or isinstance(x, int) for x in (index.start, index.stop)):
            self.keep_sizes(node, sizes[index])
        elif isinstance(index, int):
            self.keep_number(node, sizes[index])

    def carry_pieces(self, node: fx.Node, layouts: Sequence[Layout]) -> None:
        """`node` yields several tensors, of these channels."""
        self.pieces[node] = tuple(layouts)
        self.roles[node] = "carry"
        self.keep_batch(node)

    def explain(self, node: fx.Node, *values: object) -> None:
        """The rule of `node` understands what these of its arguments are for."""
        self._explained |= {(node, value if isinstance(value, fx.Node) else id(value)) for value in values}

    def fix_unexplained(self, node: fx.Node) -> None:
        """Fixes the channels that numbers follow from which `node` uses, but its rule does not understand."""
        for source in node.all_input_nodes:
            if (node, source) in self._explained:
                continue
            if self.is_derived_number(source):
                for layout in self.derived[source]:
                    layout.fix(located("the code computes something else with its number of channels", node))
            elif source in self.numbers or source in self.sizes:
                told = "the code reads its number of channels; computed from `x.shape` where it is a size, it would not"
                self.fix_numbers(source, located(told, node))

    def fix_constants(self) -> None:
        """Fixes what depends on attributes that the code uses for something else, too."""
        for node in self.traced.graph.nodes:
            for number in _traced_numbers(node):
                for attribute in number.terms:
                    if attribute in self.attributes and (node, id(number)) not in self._explained:
                        for channels in self.attributes[attribute].resolved(self.attributes).channels():
                            channels.fix(
                                located(f"{node.name} uses {attribute}, its number of channels; {_INSTEAD}", node)
                            )

        for attribute, form in self.attributes.items():
            if attribute.of_layer and attribute not in self._told:
                for channels in form.resolved(self.attributes).channels():
                    channels.fix(f"the code uses {attribute} for its number of channels")
        for use in self.traced.uses:
            self._fix_used(use)

    def _fix_used(self, use: Use) -> None:
        """Fixes what a number follows from by which the code decides, or which it computes with in other ways."""
        form = Form.of_number(use.number)
        names = ", ".join(str(attribute) for attribute in form.attributes())
        form = (form - Form.of_number(use.other)).resolved(self.attributes)
        if use.compares and is_decided(use.compares, form):
            return
        what = "decides by" if use.compares else "computes with"
        for channels in form.channels():
            channels.fix(f"the code {what} {names}, which holds its number of channels, at {use.place}; {_INSTEAD}")

    def _tell_sizes(self, node: fx.Node, written: Layout, read: Layout | None) -> None:
        """What the code reads of a layer's sizes follows from its channels."""
        module = self.traced.module(node)
        for attribute in self._sizes_read.get(read_as(str(node.target), module), ()):
            form = size_of(attribute, module, written, read)
            if form is not None:
                self._tell(attribute, form)

    def tell_values(self, path: str, layout: Layout) -> None:
        """What the code reads of a parameter's shape follows from the channels that it has values for."""
        owner, _, name = path.rpartition(".")
        for attribute in self._sizes_read.get(owner, ()):
            if (attribute.name, attribute.index) == (f"{name}.shape", layout.dim):
                self._tell(attribute, Form.of_layout(layout))

    def _tell(self, attribute: Attribute, form: Form) -> None:
        self._told.add(attribute)
        known = self.attributes.setdefault(attribute, form)
        if known is not form and not make_equal(known, form, self.attributes):
            for channels in form.resolved(self.attributes).channels():
                channels.fix(f"the code uses {attribute} for another number")

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
        if any(self._order[user] > self._order[node] for user in users):
            return True
        self._alone.add(node)
        return False

    def is_in_place(self, node: fx.Node) -> bool:
        """Whether `node` changes its first argument."""
        return is_in_place(node, self.traced)

    def operation(self, node: fx.Node) -> str:
        """The name of what a node calls: the type that a module behaves as, a function's or method's name."""
        if node.op == "call_module":
            return behaves_as(self.traced.module(node)).__name__
        return node.target if isinstance(node.target, str) else getattr(function_of(node.target), "__name__", "")

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
        if len(node.args) != 1 or node.kwargs:
            return located(f"{name} is called in an unusual way; with one tensor alone it would not be", node)
        return ""


def _sizes_read(traced: TracedNetwork) -> dict[str, list[Attribute]]:
    """Path of a module → sizes of it that stand in the graph."""
    numbers = [number for node in traced.graph.nodes for number in _traced_numbers(node)]
    numbers += [
        number for use in traced.uses for number in (use.number, use.other) if isinstance(number, AttributeNumber)
    ]
    found: dict[str, list[Attribute]] = defaultdict(list)
    for attribute in dict.fromkeys(attribute for number in numbers for attribute in number.terms):
        if attribute.of_layer:
            found[attribute.path].append(attribute)
    return found


def _traced_numbers(node: fx.Node) -> list[AttributeNumber]:
    """The numbers among a node's arguments that say of which attributes they were made."""
    found: list[AttributeNumber] = []

    def collect(value: object) -> object:
        if isinstance(value, AttributeNumber):
            found.append(value)
        return value

    fx.node.map_aggregate((node.args, node.kwargs), collect)  # type: ignore[arg-type]
    return found


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


def _yields_tensors(node: object) -> bool:
    return isinstance(node, fx.Node) and ("shape" in node.meta or "shapes" in node.meta)


def label(node: fx.Node) -> str:
    """How a message names a node: its path or method, or the name of a call's result."""
    return node.target if isinstance(node.target, str) else node.name


def _held_at(network: nn.Module) -> dict[int, list[str]]:
    """Parameters and buffers, by id, and every path of theirs."""
    paths: dict[int, list[str]] = defaultdict(list)
    for path, module in network.named_modules(remove_duplicate=False):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if isinstance(tensor, Tensor):
                paths[id(tensor)].append(f"{path}.{name}" if path else name)
    return paths
