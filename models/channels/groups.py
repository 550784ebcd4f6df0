"""Channel groups: the channel dimensions of a network that must share one width."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import fx, nn

from ..layers.reparametrised import lost
from ..tracing.graph import shape_of, trace
from ..tracing.inputs import ExampleInputs
from .graph import ChannelGraph
from .layouts import Channels, Layout
from .numbers.forms import Form, full_value
from .rules import follow


@dataclass(frozen=True)
class ChannelGroup:
    """One width that can be chosen.

    Attributes:
        name: the first writer's module path; where code takes what it writes apart, "#2" and so on for later parts.
        width: number of channels.
        writers: module paths of the layers that produce the channels, in forward order.
        readers: module paths of the layers that consume them, in forward order; what the code computes of them without
            a layer is not among them.
        reason: why the width is fixed; empty if it can be narrowed.
        resolution: (H, W) of the first writer's output; () where channels have no positions.
        attributes: numbers that modules of the network hold, by module path and name, which folding rewrites where the
            group is narrower.
        computed: layers whose weight is computed from other tensors, and how; where the group is narrower they hold
            the weight itself, as in evaluation, and training goes on with that.
        blocks: equal blocks of consecutive channels, of which each keeps as many: widths are multiples of this.
        heads: how often every layer holds the channels at least: those of one head, of which all heads keep the same.
    """

    name: str
    width: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    reason: str
    resolution: tuple[int, ...] = ()
    attributes: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    blocks: int = 1
    heads: int = 1

    @property
    def prunable(self) -> bool:
        """Whether the group can be narrowed."""
        return not self.reason


def channel_groups(model: nn.Module, example_inputs: ExampleInputs) -> tuple[ChannelGroup, ...]:
    """The channel groups of a network, in forward order, found from its graph; the model is not changed.

    Args:
        model: any network whose forward decides nothing by the values of tensors.
        example_inputs: a tensor (N, C, H, W), a sequence of the forward's positional arguments, or a dict of them by
            name.

    Raises:
        NetworkError: if the network cannot be traced; the message names the line that stopped it.
    """
    return Analysis.of(model, example_inputs).groups


@dataclass(frozen=True)
class Analysis:
    """A network's channel graph together with its named groups.

    Attributes:
        graph: layouts and roles of every node.
        groups: the groups in forward order.
    """

    graph: ChannelGraph
    groups: tuple[ChannelGroup, ...]
    _names: dict[Channels, str]

    @staticmethod
    def of(model: nn.Module, example_inputs: ExampleInputs, in_groups: Collection[str] = ()) -> "Analysis":
        """The analysis of `model`: traced, its channels followed, its groups named.

        Args:
            model: any network.
            example_inputs: as for `channel_groups`.
            in_groups: paths of convolutions in groups that are known to write channels of their own, which cannot be
                seen of them where they have been narrowed to one channel in each group.

        Raises:
            NetworkError: if the network cannot be traced.
        """
        graph = ChannelGraph(trace(model, example_inputs), in_groups={*in_groups})
        for node in graph.nodes:
            follow(node, graph)
        graph.fix_constants()
        graph.settle_blocks()
        graph.fix_mixed()
        roots: dict[Channels, int] = {}
        for node, role in graph.roles.items():
            if role == "write":
                for root in graph.layouts[node].roots():
                    roots.setdefault(root, graph.layouts[node].dim)
        order = {node: i for i, node in enumerate(graph.nodes)}
        groups, names = [], {}
        for root, dim in roots.items():
            group = _group(root, dim, order, graph)
            groups.append(group)
            names[root] = group.name
        return Analysis(graph, tuple(groups), names)

    def segment_groups(self, layout: Layout) -> tuple[str | None, ...]:
        """For each segment of a layout the name of its group, None if no layer writes it."""
        return tuple(self._names.get(root) for root in layout.roots())

    def derived_from(self, node: fx.Node) -> set[str]:
        """The groups whose channels determine what a node yields, if that has no channels of its own."""
        layouts = self.graph.derived.get(node, ())
        return {name for layout in layouts for name in self.segment_groups(layout) if name is not None}

    def form_by_group(self, form: Form) -> tuple[Fraction, dict[str, Fraction]]:
        """A number that follows from widths as a constant and the factor of each group's width."""
        resolved = form.resolved(self.graph.attributes)
        constant, factors = resolved.constant, {}
        for atom, factor in resolved.terms:
            name = self._names.get(atom) if isinstance(atom, Channels) else None
            if name is None:
                constant += factor * full_value(atom)
            else:
                factors[name] = factor
        return constant, factors

    def group(self, name: str) -> ChannelGroup | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == name), None)


def _group(root: Channels, dim: int, order: dict[fx.Node, int], graph: ChannelGraph) -> ChannelGroup:
    writers = _paths(root.writers, order)
    readers = _paths(root.readers, order)
    reason = root.reason or ("" if readers or root.derived else "nothing reads it")
    first = min(root.writers, key=order.__getitem__)
    resolution = (shape_of(first) or ())[2:] if dim == 1 else ()
    number = list(dict.fromkeys(graph.layouts[first].roots())).index(root) + 1
    name = writers[0] if number == 1 else f"{writers[0]}#{number}"
    attributes = tuple(
        str(attribute)
        for attribute, form in graph.attributes.items()
        if not attribute.of_layer and root in form.resolved(graph.attributes).channels()
    )
    layers = {path: graph.traced.modules[path] for path in (*writers, *readers)}
    computed = tuple(f"{path} ({told})" for path, layer in layers.items() if (told := lost(layer)))
    heads = _heads(root, graph)
    return ChannelGroup(
        name, root.width, writers, readers, reason, resolution, attributes, computed, root.blocks, heads
    )


def _heads(root: Channels, graph: ChannelGraph) -> int:
    """How often each layer that writes or reads a set of channels holds it, the least of all."""
    tensors = [*root.writers, *(node.args[0] for node in root.readers if node.args)]
    layouts = [layout for node in tensors if isinstance(node, fx.Node) for layout in graph.layouts_of(node)]
    counts = [layout.roots().count(root) for layout in layouts]
    return min((count for count in counts if count), default=1)


def _paths(nodes: Sequence[fx.Node], order: dict[fx.Node, int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(node.target) for node in sorted(nodes, key=order.__getitem__)))
