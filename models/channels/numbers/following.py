"""Numbers of a network's code that follow from widths: kept node by node, told to attributes, explained by rules."""

from collections import defaultdict
from dataclasses import dataclass, field

from torch import fx

from ...tracing.graph import TracedNetwork
from ...tracing.plain.classes import read_as
from ...tracing.recording.attributes import Attribute, AttributeNumber, Use
from ..layouts import Layout, Segment
from ..nodes import TracedNodes, label, located, yields_tensors
from .forms import Form, is_decided, make_equal
from .layer_sizes import size_of

_INSTEAD = "computed from `x.shape` it would be free"


@dataclass
class FollowedNumbers(TracedNodes):
    """What follows from widths without having channels.

    Attributes:
        numbers: nodes that yield a whole number which follows from widths → how.
        sizes: nodes that yield several numbers, a shape for example → each of them.
        attributes: numbers that the network's modules hold and that follow from widths → how.
        derived: nodes that yield a value, or several, that channels determine but which has none → of these channels.
        weighed: nodes and numbers that they read for their value, not as sizes.
    """

    numbers: dict[fx.Node, Form] = field(default_factory=dict)
    sizes: dict[fx.Node, tuple[Form, ...]] = field(default_factory=dict)
    attributes: dict[Attribute, Form] = field(default_factory=dict)
    derived: dict[fx.Node, tuple[Layout, ...]] = field(default_factory=dict)
    weighed: set[tuple[fx.Node, fx.Node]] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._mixed: list[tuple[fx.Node, Layout]] = []
        self._sizes_read = _sizes_read(self.traced)
        self._told: set[Attribute] = set()
        self._explained: set[tuple[fx.Node, object]] = set()

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
        return node in self.derived and node not in self.numbers and not yields_tensors(node)

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

    def tell_sizes(self, node: fx.Node, written: Layout, read: Layout | None) -> None:
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
