"""What flows through the original where its groups are read, recorded in one pass for branches of any widths."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ..channels.derived import determining
from ..channels.groups import Analysis
from ..channels.reuse import blended_alike, readers_by_tensor
from ..layers.modes import evaluating
from ..layers.narrowing import own_tensor
from ..tracing.inputs import copied
from .estimates import Rows, joint_gram
from .readers import mean_is_free, metric
from .subset import Subset, by_channel, greedy_subset

# Bytes of activations that are held for fitting; a network with more of them runs once more for every fit.
MOST_HELD = 2 * 2**30


# What a network's layers run in.
Running = Callable[[], AbstractContextManager[Any]]


class Activity(NamedTuple):
    """How the channels of a group vary together where they are read, and what their readers make of it.

    Attributes:
        gram: G (C, C), float64: the sum over the tensors in which the group is read, each of energy 1.
        metric: M (C, C), float64: how much an error counts in each direction (see `readers.metric`).
    """

    gram: Tensor
    metric: Tensor


class Original:
    """A network's own values on some data, as far as branches beside some of its groups, or all, ask for them.

    The network runs when the first of them is asked for, in the precision of the autocast that it is made in, as what
    is delivered will; sums, products and solutions are not rounded to it. What is found does not depend on the widths.

    Args:
        analysis: of the network, in evaluation mode.
        names: the groups that may get a branch.
        batches: positional arguments of the forward.
        most_held: bytes of activations that are held; 0 where sums are all that is asked for.
    """

    def __init__(
        self, analysis: Analysis, names: Collection[str], batches: list[tuple[Any, ...]], *, most_held: int = MOST_HELD
    ) -> None:
        self.running = _as_now(analysis.graph.traced.network)
        self.analysis, self.names, self.batches, self.most_held = analysis, frozenset(names), batches, most_held
        self._record: _Record | None = None
        self._readers, self._determine = readers_by_tensor(analysis.graph), determining(analysis.graph)
        self._found: dict[tuple[fx.Node, int, bool], Activity] = {}
        self._orders: dict[tuple[str, frozenset[fx.Node]], Subset] = {}

    @property
    def network(self) -> nn.Module:
        """The network whose values these are."""
        return self.analysis.graph.traced.network

    @property
    def record(self) -> "_Record":
        """What was recorded of the network's one pass."""
        if self._record is None:
            record = _Record(self.analysis, self.names, self.most_held)
            record.run(self.batches, self.running)
            self._record = record
        return self._record

    @property
    def holds(self) -> bool:
        """Whether the activations themselves are held, not their sums alone."""
        return self.record.most_held > 0

    def read(self, node: str) -> tuple[Rows | None, ...]:
        """The channels of each segment of a tensor that layers read; None for a group that gets no branch.

        Args:
            node: the tensor's name in the analysed graph.
        """
        return self.record.read[node]

    def written(self, node: str) -> Rows:
        """All places along the channel dimension of what a layer with a bias writes, as sums.

        Args:
            node: the tensor's name in the analysed graph.
        """
        return self.record.written[node]

    def activity(self, branched: Collection[str]) -> dict[str, Activity]:
        """How each group's channels vary, about their mean where the branches restore it or shift it, else about 0.

        Tensors that one layer reads in several calls count as one.

        Args:
            branched: the groups that get a branch.
        """
        centred = self._centred(branched)
        return {name: self._activity_of(name, centred) for name in self._places() if name in branched}

    def best(self, widths: Mapping[str, int], blocks: Mapping[str, int]) -> dict[str, Tensor]:
        """For each group that gets a branch the channels (k,) that explain most, in the order in which they are chosen.

        Those of a smaller width are the first ones of a larger: an order that is known to be too short is found to full
        width, once for all widths.

        Args:
            widths: group → channels to choose.
            blocks: of each group; see `greedy_subset`.
        """
        centred, chosen = self._centred(widths), {}
        for name, places in self._places().items():
            if name in widths:
                key = name, frozenset(node for node, _ in places if node in centred)
                known = self._orders.get(key)
                if known is None or len(known.order) < widths[name]:
                    G, M = self._activity_of(name, centred)
                    wanted = widths[name] if known is None else len(G)
                    known = self._orders[key] = greedy_subset(G, wanted, M, blocks[name])
                chosen[name] = known.order[: widths[name]]
        return chosen

    def _centred(self, branched: Collection[str]) -> set[fx.Node]:
        free = {node for node, reading in self._readers.items() if mean_is_free(self.analysis, reading, branched)}
        return free - self._determine.keys()

    def _places(self) -> dict[str, list[tuple[fx.Node, int]]]:
        """Group → the tensors in which it counts, each with the number of its segment there."""
        places: dict[str, list[tuple[fx.Node, int]]] = {}
        for node in self.record.counted:
            for i, name in enumerate(self.analysis.segment_groups(self.analysis.graph.layouts[node])):
                if name in self.names:
                    places.setdefault(str(name), []).append((node, i))
        return places

    def _activity_of(self, name: str, centred: Collection[fx.Node]) -> Activity:
        parts = [self._activity_at(node, i, centred=node in centred) for node, i in self._places()[name]]
        return Activity(sum(part.gram for part in parts), sum(part.metric for part in parts))  # type: ignore[arg-type]

    def _activity_at(self, node: fx.Node, segment: int, *, centred: bool) -> Activity:
        key = node, segment, centred
        if key not in self._found:
            rows = [self.record.read[alike.name][segment] for alike in self.record.counted[node]]
            G = joint_gram([each for each in rows if each is not None], centred=centred)
            energy = G.diagonal().sum()
            G = G / energy if energy != 0 else G  # also where it is not a number, for the selection to refuse
            layout = self.analysis.graph.layouts[node]
            M = metric(self.analysis, self._readers.get(node, ()), layout, segment, G)
            M += len(self._determine.get(node, ())) * torch.eye(len(G), dtype=G.dtype, device=G.device)
            self._found[key] = Activity(G, M)
        return self._found[key]


class _Record:
    """What was seen of a network that ran: the channels that layers read, and the means of what they write.

    Attributes:
        counted: tensor that stands for all that share one E → those of them that say which channels count.
        read: name of a tensor that is read → its segments' channels.
        written: name of a tensor that a layer with a bias writes → its places along the channel dimension.
        most_held: bytes of activations that may be held; 0 as soon as they were more.
    """

    def __init__(self, analysis: Analysis, names: Collection[str], most_held: int) -> None:
        self.analysis, self.names, self.most_held = analysis, names, most_held
        self.counted: dict[fx.Node, list[fx.Node]] = {}
        self.read: dict[str, tuple[Rows | None, ...]] = {}
        self.written: dict[str, Rows] = {}
        graph = analysis.graph
        self.blended = blended_alike(graph)
        self.alike = {**{node: node for node in determining(graph)}, **self.blended}
        # What training alone computes, dropped paths for example, counts only where evaluation reads nothing of it.
        evaluated = {node for node in self.alike if node in graph.traced.evaluated()}
        heard = {self.alike[node] for node in evaluated}
        self.counts = {node for node, first in self.alike.items() if node in evaluated or first not in heard}
        self.biased = {node for node, role in graph.roles.items() if role == "write" and self._shifts(node)}

    def run(self, batches: list[tuple[Any, ...]], running: Running) -> None:
        """Runs the network, batch after batch, and lets go of what it holds as soon as it will be too much."""
        recorder = _Recorder(self, running)
        with evaluating(self.analysis.graph.traced.network):
            for done, batch in enumerate(batches, 1):
                recorder.run(*copied(batch))
                held = [rows for segments in self.read.values() for rows in segments if rows is not None]
                if sum(rows.size for rows in held) * len(batches) > self.most_held * done:
                    self.most_held = 0
                    for rows in held:
                        rows.release()

    def see(self, node: fx.Node, value: Tensor) -> None:
        """Adds what a node of the network yields for a batch."""
        layout = self.analysis.graph.layouts[node]
        if node in self.biased:
            rows = self.written.setdefault(node.name, Rows(products=False, held=False))
            rows.add(by_channel(value, layout.dim, value.shape[layout.dim]))
        if node not in self.alike:
            return
        names = self.analysis.segment_groups(layout)
        if node.name not in self.read:
            held = self.most_held > 0 and node in self.blended
            self.read[node.name] = tuple(
                Rows(products=node in self.counts, held=held) if name in self.names else None for name in names
            )
            if node in self.counts:
                self.counted.setdefault(self.alike[node], []).append(node)
        slices = value.split([segment.size for segment in layout.segments], layout.dim)
        for seen, segment, x in zip(self.read[node.name], layout.segments, slices, strict=True):
            if seen is not None:
                seen.add(by_channel(x, layout.dim, segment.channels.width))

    def _shifts(self, node: fx.Node) -> bool:
        """Whether a layer writes channels that may get a branch, and has a bias for P's to stand beside."""
        names = self.analysis.segment_groups(self.analysis.graph.layouts[node])
        layer = self.analysis.graph.traced.module(node)
        return any(name in self.names for name in names) and own_tensor(layer, "bias") is not None


class _Recorder(fx.Interpreter):
    """Runs the network and shows what it yields to a record."""

    def __init__(self, record: _Record, running: Running) -> None:
        traced = record.analysis.graph.traced
        super().__init__(traced.network, garbage_collect_values=True, graph=traced.graph)
        self.record, self.running, self.wanted = record, running, record.alike.keys() | record.biased

    def run_node(self, n: fx.Node) -> Any:
        with self.running():
            result = super().run_node(n)
        if n in self.wanted:
            self.record.see(n, result)
        return result


def _as_now(network: nn.Module) -> Running:
    """The autocast that is in force for a network's device, to be entered again; what has none runs as it is."""
    device = next((parameter.device.type for parameter in network.parameters()), "cpu")
    if not torch.is_autocast_enabled(device):
        return nullcontext
    dtype = torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype)


@contextmanager
def exactly(network: nn.Module) -> Iterator[None]:
    """Outside of any autocast for a network's device: sums, products and solutions keep their precision."""
    device = next((parameter.device.type for parameter in network.parameters()), "cpu")
    with torch.autocast(device, enabled=False):
        yield
