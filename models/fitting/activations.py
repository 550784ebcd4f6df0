"""What the original's activations say of every width, and the data that they come from."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import NetworkError
from ..channels.groups import Analysis
from ..layers.copying import deep_copy
from ..layers.lending import lent
from ..tracing.inputs import ExampleInputs, as_inputs, first_tensor, with_tensors
from .original import Original
from .subset import greedy_subset

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
    activity = Original(analysis, blocks, batches, most_held=0).activity(blocks)
    return {name: greedy_subset(G, len(G), M, blocks[name]).errors for name, (G, M) in activity.items()}


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
