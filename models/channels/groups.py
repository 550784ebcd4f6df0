"""Channel groups: the channel dimensions of a network that must share one width."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn

from ..tracing.graph import shape_of, trace
from ..tracing.inputs import ExampleInputs
from .graph import ChannelGraph
from .layouts import Channels, Layout
from .rules import follow


@dataclass(frozen=True)
class ChannelGroup:
    """One width that can be chosen.

    Attributes:
        name: the first writer's module path.
        width: number of channels.
        writers: module paths of the layers that produce the channels, in forward order.
        readers: module paths of the layers that consume them, in forward order.
        reason: why the width is fixed; empty if it can be narrowed.
        resolution: (H, W) of the first writer's output; () where channels have no positions.
    """

    name: str
    width: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    reason: str
    resolution: tuple[int, ...] = ()

    @property
    def prunable(self) -> bool:
        """Whether the group can be narrowed."""
        return not self.reason


def channel_groups(model: nn.Module, example_inputs: ExampleInputs) -> tuple[ChannelGroup, ...]:
    """The channel groups of a network, in forward order, found from its graph; the model is not changed.

    Args:
        model: any network that `torch.fx` can trace.
        example_inputs: a tensor (N, C, H, W), or a sequence of the forward's positional arguments.

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
    def of(model: nn.Module, example_inputs: ExampleInputs) -> "Analysis":
        """The analysis of `model`: traced, its channels followed, its groups named.

        Raises:
            NetworkError: if the network cannot be traced.
        """
        graph = ChannelGraph(trace(model, example_inputs))
        for node in graph.nodes:
            follow(node, graph)
        roots: dict[Channels, int] = {}
        for node, role in graph.roles.items():
            if role == "write":
                roots.setdefault(graph.layouts[node].roots()[0], graph.layouts[node].dim)
        order = {node: i for i, node in enumerate(graph.nodes)}
        groups, names = [], {}
        for root, dim in roots.items():
            group = _group(root, dim, order)
            groups.append(group)
            names[root] = group.name
        return Analysis(graph, tuple(groups), names)

    def segment_groups(self, layout: Layout) -> tuple[str | None, ...]:
        """For each segment of a layout the name of its group, None if no layer writes it."""
        return tuple(self._names.get(root) for root in layout.roots())

    def group(self, name: str) -> ChannelGroup | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == name), None)


def _group(root: Channels, dim: int, order: dict[fx.Node, int]) -> ChannelGroup:
    writers = _paths(root.writers, order)
    readers = _paths(root.readers, order)
    reason = root.reason or ("" if readers else "nothing reads it")
    first = min(root.writers, key=order.__getitem__)
    resolution = (shape_of(first) or ())[2:] if dim == 1 else ()
    return ChannelGroup(writers[0], root.width, writers, readers, reason, resolution)


def _paths(nodes: Sequence[fx.Node], order: dict[fx.Node, int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(node.target) for node in sorted(nodes, key=order.__getitem__)))
