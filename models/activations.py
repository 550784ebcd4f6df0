"""The original's activations where each group is read, as Gram matrices, and what they say of every width."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import NetworkError
from .groups import Analysis
from .modes import preserving_modes
from .reuse import blended_alike
from .selection import gram, greedy_selection
from .tracing import ExampleInputs, as_inputs, copied

_CHUNK = 256


def sensitivity(
    model: nn.Module, example_inputs: ExampleInputs, data: Tensor | Iterable[Any] | None = None
) -> dict[str, Tensor]:
    """For every group that can be narrowed, the error at each width: (C + 1,), from 1 at width 0 to 0 at width C.

    The error is the share of the activations' energy, where the group is read, that the best chosen channels leave
    unexplained (see `greedy_selection`). Errors of different groups say how redundant each is, not what it costs the
    network's accuracy.

    Args:
        model: any network that `torch.fx` can trace; it is not changed.
        example_inputs: a tensor (N, C, H, W), or a sequence of the forward's positional arguments.
        data: a few hundred examples: a tensor of inputs, or an iterable of batches. The example inputs by default.

    Raises:
        NetworkError: if the network cannot be traced, or its activations are not finite.
    """
    analysis = Analysis.of(copy.deepcopy(model), example_inputs)
    batches = input_batches(analysis, [as_inputs(example_inputs)] if data is None else data)
    names = [group.name for group in analysis.groups if group.prunable]
    grams = group_grams(analysis, names, batches)
    return {name: greedy_selection(grams[name], len(grams[name])).errors for name in names}


def group_grams(analysis: Analysis, names: Iterable[str], batches: Iterable[tuple[Any, ...]]) -> dict[str, Tensor]:
    """Each group's Gram matrix (C, C), float64: the sum over the tensors in which it is read, each of energy 1.

    Tensors that one layer reads in several calls count as one.

    Args:
        analysis: of the network to run, in evaluation mode.
        names: the groups.
        batches: positional arguments of the forward.
    """
    wanted = set(names)
    sums: dict[fx.Node, list[Tensor | None]] = {}
    network = analysis.graph.traced.network
    with preserving_modes(network), torch.no_grad():
        network.eval()
        for batch in batches:
            _Recorder(analysis, wanted, sums).run(*copied(batch))
    grams: dict[str, Tensor] = {}
    for node, parts in sums.items():
        for name, G in zip(analysis.segment_groups(analysis.graph.layouts[node]), parts, strict=True):
            if G is None or name is None:
                continue
            energy = G.diagonal().sum()
            scaled = G / energy if energy != 0 else G  # also where it is not a number, for the selection to refuse
            grams[name] = grams[name] + scaled if name in grams else scaled
    return grams


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
        if not isinstance(batch, Tensor | tuple | list) or not isinstance(first := _first(batch), Tensor):
            raise NetworkError(f"data must be tensors, or tuples that start with one, but got {batch!r:.80}")
        if len(first) == 0:
            raise NetworkError(f"data has a batch without examples, of shape {tuple(first.shape)}")
        inputs = (batch,) if isinstance(batch, Tensor) else tuple(batch)[:arity]
        batches.append(tuple(_placed(x, like) for x in inputs))
    if not batches:
        raise NetworkError("there is no data to fit to")
    return batches


def _iterated(data: Any) -> Iterable[Any]:
    if not isinstance(data, Iterable):
        raise NetworkError(f"data must be a tensor or an iterable of batches, but got {data!r:.80}")
    return data


def _first(batch: Any) -> Any:
    return batch if isinstance(batch, Tensor) else next(iter(batch), None)


def _placed(value: Any, like: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)


class _Recorder(fx.Interpreter):
    """Runs the network and adds up, where a layer reads, the Gram matrix of each segment."""

    def __init__(self, analysis: Analysis, wanted: set[str], sums: dict[fx.Node, list[Tensor | None]]) -> None:
        traced = analysis.graph.traced
        super().__init__(traced.network, garbage_collect_values=True, graph=traced.graph)
        self.analysis, self.wanted, self.sums = analysis, wanted, sums
        self.alike = blended_alike(analysis.graph)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.alike:
            self._add(self.alike[n], result)
        return result

    def _add(self, node: fx.Node, value: Tensor) -> None:
        layout = self.analysis.graph.layouts[node]
        names = self.analysis.segment_groups(layout)
        slices = value.split([segment.size for segment in layout.segments], layout.dim)
        known = self.sums.get(node, [None] * len(names))
        added: list[Tensor | None] = []
        for name, segment, x, G in zip(names, layout.segments, slices, known, strict=True):
            if name not in self.wanted:
                added.append(None)
                continue
            more = gram(x, layout.dim, segment.channels.width)
            added.append(more if G is None else G + more)
        self.sums[node] = added
