"""The original's activations where each group is read, as Gram matrices, and what they say of every width."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ...errors import NetworkError
from ..channels.derived import determining
from ..channels.groups import Analysis
from ..channels.reuse import blended_alike, readers_by_tensor
from ..layers.copying import deep_copy
from ..layers.lending import lent
from ..layers.modes import evaluating
from ..tracing.inputs import ExampleInputs, as_inputs, copied, first_tensor, with_tensors
from .readers import mean_is_free, metric
from .subset import by_channel, gram, greedy_subset

_CHUNK = 256


def sensitivity(
    model: nn.Module, example_inputs: ExampleInputs, data: Tensor | Iterable[Any] | None = None
) -> dict[str, Tensor]:
    """For every group that can be narrowed, the error at each width: (C + 1,), from 1 at width 0 to 0 at width C.

    The error is the share of what the group's readers make of its channels that the best chosen ones leave unexplained
    (see `greedy_subset`; each output of a reader counts the same). Errors of different groups say how redundant each
    is, not what it costs the network's accuracy.

    Args:
        model: any network whose forward decides nothing by the values of tensors; it is not changed.
        example_inputs: a tensor (N, C, H, W), a sequence of the forward's positional arguments, or a dict of them by
            name.
        data: a few hundred examples: a tensor of inputs, or an iterable of batches. The example inputs by default.

    Raises:
        NetworkError: if the network cannot be traced, or its activations are not finite.
    """
    analysis = Analysis.of(deep_copy(model, lent(model)), example_inputs)
    batches = input_batches(analysis, [as_inputs(example_inputs, model)] if data is None else data)
    blocks = {group.name: group.blocks for group in analysis.groups if group.prunable}
    activity = group_activity(analysis, blocks, batches)
    return {name: greedy_subset(G, len(G), M, blocks[name]).errors for name, (G, M) in activity.items()}


class Activity(NamedTuple):
    """How the channels of a group vary together where they are read, and what their readers make of it.

    Attributes:
        gram: G (C, C), float64: the sum over the tensors in which the group is read, each of energy 1.
        metric: M (C, C), float64: how much an error counts in each direction (see `readers.metric`).
    """

    gram: Tensor
    metric: Tensor


def group_activity(analysis: Analysis, names: Iterable[str], batches: Iterable[tuple[Any, ...]]) -> dict[str, Activity]:
    """How each group's channels vary, about their mean where the branches restore it or shift it, else about 0.

    Tensors that one layer reads in several calls count as one.

    Args:
        analysis: of the network to run, in evaluation mode.
        names: the groups that get a branch.
        batches: positional arguments of the forward.
    """
    wanted = set(names)
    readers, determine = readers_by_tensor(analysis.graph), determining(analysis.graph)
    centred = {node for node, reading in readers.items() if mean_is_free(analysis, reading, wanted)}
    centred -= determine.keys()
    sums: dict[fx.Node, list[_Sum | None]] = {}
    network = analysis.graph.traced.network
    with evaluating(network):
        for batch in batches:
            _Recorder(analysis, wanted, centred, sums).run(*copied(batch))
    found: dict[str, Activity] = {}
    for node, parts in sums.items():
        layout = analysis.graph.layouts[node]
        for i, (name, part) in enumerate(zip(analysis.segment_groups(layout), parts, strict=True)):
            if part is None or name is None:
                continue
            G = part.gram()
            energy = G.diagonal().sum()
            G = G / energy if energy != 0 else G  # also where it is not a number, for the selection to refuse
            M = metric(analysis, readers.get(node, ()), layout, i, G)
            M += len(determine.get(node, ())) * torch.eye(len(G), dtype=G.dtype, device=G.device)
            known = found.get(name)
            found[name] = Activity(G, M) if known is None else Activity(known.gram + G, known.metric + M)
    return found


def input_batches(analysis: Analysis, data: Tensor | Iterable[Any]) -> list[tuple[Any, ...]]:
    """Data as the forward's positional arguments, on the network's device and in its dtype.

    Raises:
        NetworkError: if there is no data.
    """
    network = analysis.graph.traced.network
    arity = len(analysis.graph.traced.inputs)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
    batches = []
    for batch in data.split(_CHUNK) if isinstance(data, Tensor) else _iterated(data):
        inputs = _arguments(batch, analysis, arity)
        first = first_tensor(inputs)
        if first is None:
            raise NetworkError(f"data must be tensors, or tuples that start with one, but got {batch!r:.80}")
        if len(first) == 0:
            raise NetworkError(f"data has a batch without examples, of shape {tuple(first.shape)}")
        batches.append(tuple(with_tensors(x, functools.partial(_placed, like=like)) for x in inputs))
    if not batches:
        raise NetworkError("there is no data to fit to")
    return batches


def _iterated(data: Any) -> Iterable[Any]:
    if not isinstance(data, Iterable):
        raise NetworkError(f"data must be a tensor or an iterable of batches, but got {data!r:.80}")
    return data


def _arguments(batch: Any, analysis: Analysis, arity: int) -> tuple[Any, ...]:
    """A batch as the forward's positional arguments: what follows them in a tuple are labels and the like."""
    if isinstance(batch, Mapping):
        return as_inputs(batch, analysis.graph.traced.network)
    if isinstance(batch, Tensor):
        return (batch,)
    return tuple(batch)[:arity] if isinstance(batch, tuple | list) else ()


def _placed(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)


class _Sum:
    """The Gram matrix of rows (C, *) that come batch by batch, about their mean or about 0.

    The first batch's mean is taken off before anything is multiplied: the rows' own precision may be low.
    """

    def __init__(self, rows: Tensor, *, centred: bool) -> None:
        self.shift = rows.double().mean(1).to(rows.dtype)[:, None] if centred else None
        self.products, self.totals, self.count = torch.zeros((), dtype=torch.float64), torch.zeros(()), 0
        self.add(rows)

    def add(self, rows: Tensor) -> None:
        """Adds a batch's rows (C, n)."""
        rows = rows if self.shift is None else rows - self.shift
        self.products = self.products + gram(rows)
        self.totals = self.totals + rows.double().sum(1)
        self.count += rows.shape[1]

    def gram(self) -> Tensor:
        """Σ (a − mean) (a − mean)ᵀ, or Σ a aᵀ."""
        if self.shift is None:
            return self.products
        return self.products - torch.outer(self.totals, self.totals) / self.count


class _Recorder(fx.Interpreter):
    """Runs the network and adds up, where a layer reads, the channels of each segment and their products."""

    def __init__(
        self,
        analysis: Analysis,
        wanted: set[str],
        centred: set[fx.Node],
        sums: dict[fx.Node, list[_Sum | None]],
    ) -> None:
        traced = analysis.graph.traced
        super().__init__(traced.network, garbage_collect_values=True, graph=traced.graph)
        self.analysis, self.wanted, self.centred, self.sums = analysis, wanted, centred, sums
        alike = {**{node: node for node in determining(analysis.graph)}, **blended_alike(analysis.graph)}
        # What training alone computes, dropped paths for example, counts only where evaluation reads nothing of it.
        evaluated = {node for node in alike if node in traced.evaluated()}
        heard = {alike[node] for node in evaluated}
        self.alike = {node: first for node, first in alike.items() if node in evaluated or first not in heard}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.alike:
            self._add(self.alike[n], result)
        return result

    def _add(self, node: fx.Node, value: Tensor) -> None:
        layout = self.analysis.graph.layouts[node]
        names = self.analysis.segment_groups(layout)
        slices = value.split([segment.size for segment in layout.segments], layout.dim)
        known = self.sums.setdefault(node, [None] * len(names))
        for i, (name, segment, x) in enumerate(zip(names, layout.segments, slices, strict=True)):
            if name in self.wanted:
                rows = by_channel(x, layout.dim, segment.channels.width)
                if (before := known[i]) is None:
                    known[i] = _Sum(rows, centred=node in self.centred)
                else:
                    before.add(rows)
