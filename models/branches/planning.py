"""One walk through the original's graph that decides what stands beside each node, before anything is made."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import fx, nn

from ..channels.derived import reads_value, yields_tensors
from ..channels.graph import READS
from ..channels.groups import Analysis
from ..channels.reuse import blended_alike
from ..layers.kinds import has_channel_parameters, has_values_along
from ..tracing.graph import shape_of
from ..tracing.recording.attributes import AttributeNumber
from .calls import Kind
from .plan import Part, Plan, WidthForm


class Planning:
    """What each node has on the narrow side, and the plan that comes of it.

    Attributes:
        analysis: of the original.
        channels: its channel graph.
        widths: group → channels of its branch, in forward order.
        alike: see `blended_alike`.
        kinds: nodes that the narrow side has, too → what is called there.
        homes: of these, those that work in one group's branch alone → the group.
        counting: of these, those that yield numbers which follow from the widths of narrow tensors.
        beside: nodes that carry channels of groups without a branch, taken from beside others: the narrow side's is
            heard; → what is called there.
        blended: nodes that read a blend → the tensor that is blended.
        plan: where the branches are.
    """

    def __init__(self, analysis: Analysis, widths: Mapping[str, int]) -> None:
        self.analysis, self.channels = analysis, analysis.graph
        self.widths = {group.name: widths[group.name] for group in analysis.groups if group.name in widths}
        self.alike = blended_alike(self.channels)
        self.kinds: dict[fx.Node, Kind] = {}
        self.homes: dict[fx.Node, str] = {}
        self.counting: set[fx.Node] = set()
        self.beside: dict[fx.Node, Kind] = {}
        self.blended: dict[fx.Node, fx.Node] = {}
        self.plan = Plan(
            widths=self.widths,
            writers={},
            carriers={},
            values={},
            value_dims={},
            readers={},
            blends={},
            attributes={
                attribute: WidthForm(*analysis.form_by_group(form))
                for attribute, form in self.channels.attributes.items()
            },
            in_groups=frozenset(self.channels.in_groups),
        )
        for node in self.channels.nodes:
            self._add(node)

    def parts(self, node: fx.Node) -> tuple[Part, ...]:
        """The segments of what a node yields."""
        return tuple(
            Part(
                name,
                segment.channels.width,
                self.widths.get(name or "", segment.channels.width),
                segment.span,
                segment.channels.blocks,
            )
            for layout in self.channels.layouts_of(node)
            for name, segment in zip(self.analysis.segment_groups(layout), layout.segments, strict=True)
        )

    def home(self, node: fx.Node) -> str | None:
        """The group in whose branch alone a node works, if it has one; there, values without channels are its own."""
        if self.channels.roles.get(node) in READS:
            return None
        if node in self.channels.derived:
            named = self.analysis.derived_from(node) & self.widths.keys()
        else:  # with channels beside those of the group it would tell these what only the branch knows
            layouts = self.channels.layouts_of(node)
            named = {str(name) for layout in layouts for name in self.analysis.segment_groups(layout)}
        name = named.pop() if len(named) == 1 else None
        return name if name in self.widths else None

    def leaves(self, source: fx.Node, node: fx.Node) -> bool:
        """Whether `node` reads a value of another group's branch, which is one value of both sides there."""
        home = self.homes.get(source)
        if home is None or (not yields_tensors(source) and (node, source) not in self.channels.weighed):
            return False
        return self.home(node) != home and reads_value(node, self.channels)

    def _add(self, node: fx.Node) -> None:
        role = self.channels.roles.get(node)
        source = node.args[0] if node.args else None
        if role in READS and isinstance(source, fx.Node) and source in self.alike and source in self.kinds:
            self._read(node, source)
        parts = self.parts(node)
        if any(part.branched for part in parts):
            self.kinds[node] = self._compressed(node, parts) if role == "write" else self._carried(node, parts)
        elif (home := self.home(node)) is not None:
            self.homes[node], self.kinds[node] = home, self._carried(node, ())
        elif role == "carry" and any(map(self._is_beside, node.all_input_nodes)):
            self.beside[node] = self._carried(node, ())
        elif self._counts_widths(node):
            self.counting.add(node)
            self.kinds[node] = Kind.SHARED

    def _read(self, node: fx.Node, source: fx.Node) -> None:
        self.blended[node] = source
        name = self.plan.readers[str(node.target)] = self.alike[source].name
        if name not in self.plan.blends:
            self.plan.blends[name] = self.parts(source)

    def _is_beside(self, source: fx.Node) -> bool:
        """Whether a tensor holds channels of a branch; beside them, the narrow side alone has the layers that stay."""
        return source in self.kinds and any(part.branched for part in self.parts(source))

    def _counts_widths(self, node: fx.Node) -> bool:
        """Whether a node yields numbers that follow from the widths of narrow tensors."""
        yields = node in self.channels.numbers or node in self.channels.sizes
        return yields and any(source in self.kinds for source in node.all_input_nodes)

    def _compressed(self, node: fx.Node, parts: tuple[Part, ...]) -> Kind:
        self.plan.writers.setdefault(str(node.target), parts)
        return Kind.COMPRESS

    def _carried(self, node: fx.Node, parts: tuple[Part, ...]) -> Kind:
        path = str(node.target)
        if node.op == "get_attr":
            self.plan.values.setdefault(path, parts)
            self.plan.value_dims[path] = self.channels.held[path].dim
            return Kind.VALUES
        if node.op != "call_module" or not parts:
            return Kind.SHARED
        layer = self.channels.traced.module(node)
        at_channels = has_values_along(layer, self.channels.layouts[node].dim, len(shape_of(node) or ()))
        if has_channel_parameters(layer) and not at_channels:
            return Kind.SHARED  # it slides along the channels, or normalises over the positions of each
        # A value for all channels alike that several groups may use stays one: the layer's own.
        alone = next(layer.parameters(), None) is not None and self.channels.calls(node) == 1
        if not alone and not at_channels:
            return Kind.SHARED
        self.plan.carriers.setdefault(path, parts)
        return Kind.NARROW


def narrow_numbers(node: fx.Node, plan: Plan, widths: Mapping[str, int]) -> None:
    """Gives numbers among a node's arguments that follow from widths, through the network's attributes, their value.

    Args:
        node: changed in place.
        plan: whose attributes tell how they follow.
        widths: of every group.
    """

    def narrow(value: Any) -> Any:
        if not isinstance(value, AttributeNumber) or not any(a in plan.attributes for a in value.terms):
            return value
        forms = {a: plan.attributes[a].at(widths) if a in plan.attributes else a.value for a in value.terms}
        return int(sum((factor * forms[a] for a, factor in value.terms.items()), value.constant))

    node.args = fx.node.map_aggregate(node.args, narrow)
    node.kwargs = fx.node.map_aggregate(node.kwargs, narrow)


def touched(plan: Plan, network: nn.Module) -> Collection[nn.Module]:
    """The original's layers beside which something stands, or into which something will be folded."""
    return {network.get_submodule(path) for path in (*plan.writers, *plan.readers, *plan.carriers)}
