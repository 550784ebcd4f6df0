"""Latency: a network's forward pass timed in turn with the baseline's, so that a busy machine slows both alike."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...models.cost import batch_size
from ...models.examples import arguments
from ...models.layers.modes import evaluating

# Passes are timed in blocks of at least this many seconds, beside which the clock costs nothing.
_BLOCK = 0.001
_LEAST_PAIRS = 9
# How often what spreads too much is measured.
ROUNDS = 5
THREADS = 1

# Seconds of one pass of the network and of the baseline, timed one right after the other.
Pair = tuple[float, float]
# What is timed: a forward pass, whatever runs it.
Pass = Callable[..., object]


class Latency(NamedTuple):
    """How long a forward pass takes.

    Attributes:
        milliseconds: median of the network's passes.
        quartiles: the first and third of them, in milliseconds.
        share: median of the ratios to the baseline's pass beside it.
        share_quartiles: the first and third of these ratios.
        unsure: whether they spread more than the share differs from what it is compared with.
        rounds: how often it was measured.
        threads: that torch ran on.
        batch: examples in a pass.
        full_milliseconds: median of the passes of what it was compared with.
    """

    milliseconds: float
    quartiles: tuple[float, float]
    share: float
    share_quartiles: tuple[float, float]
    unsure: bool
    rounds: int
    threads: int
    batch: int
    full_milliseconds: float | None = None

    @property
    def spread(self) -> float:
        """The interquartile range of the ratios."""
        return self.share_quartiles[1] - self.share_quartiles[0]


def compare_latency(
    network: nn.Module,
    baseline: nn.Module,
    images: Tensor | tuple[Any, ...],
    *,
    limit: float | None = None,
    seconds: float = 0.2,
) -> Latency:
    """Times both networks in turn on one thread, at most five times over.

    Args:
        network: to be timed.
        baseline: that it is compared with.
        images: (N, C, H, W) of a pass, or the forward's arguments.
        limit: the share that it may have; without one it is to be told apart from the baseline, a share of 1.
        seconds: of one measurement, in which there are nine pairs at least.
    """
    with evaluating(network), evaluating(baseline):
        return compare_passes(network, baseline, arguments(images), limit=limit, seconds=seconds)


def compare_passes(
    own: Pass, other: Pass, inputs: tuple[Any, ...], *, limit: float | None = None, seconds: float = 0.2
) -> Latency:
    """Times two forward passes in turn with torch on one thread, whatever runs them; arguments as `compare_latency`."""
    with one_thread():
        return settled(
            lambda: _pairs(own, other, inputs, seconds), 1.0 if limit is None else limit, batch=batch_size(inputs)
        )


def settled(measure: Callable[[], list[Pair]], against: float, *, batch: int = 1) -> Latency:
    """Measures until a measurement spreads less than its share differs from `against`; all five of them if none does.

    Args:
        measure: gives at least two pairs.
        against: the share of the baseline's latency that the network's is to be told apart from.
        batch: examples in a pass.
    """
    everything: list[Pair] = []
    for number in range(1, ROUNDS + 1):
        pairs = measure()
        everything += pairs
        found = _summary(pairs, against, number, batch)
        if not found.unsure:
            return found
    return _summary(everything, against, ROUNDS, batch)._replace(unsure=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread; as many as before are there again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _summary(pairs: list[Pair], against: float, rounds: int, batch: int) -> Latency:
    times = [1000 * own for own, _ in pairs]
    ratios = [own / other for own, other in pairs]
    low, share, high = statistics.quantiles(ratios, n=4, method="inclusive")
    first, median, third = statistics.quantiles(times, n=4, method="inclusive")
    unsure = high - low > abs(share - against)
    full = 1000 * statistics.median(other for _, other in pairs)
    return Latency(median, (first, third), share, (low, high), unsure, rounds, THREADS, batch, full)


def _pairs(own: Pass, other: Pass, inputs: tuple[Any, ...], seconds: float) -> list[Pair]:
    blocks = [(each, _block(each, inputs)) for each in (own, other)]
    end = time.perf_counter() + seconds
    pairs: list[Pair] = []
    while len(pairs) < _LEAST_PAIRS or time.perf_counter() < end:
        first, second = (_seconds(each, inputs, passes) for each, passes in blocks)
        pairs.append((first, second))
    return pairs


def _block(call: Pass, inputs: tuple[Any, ...]) -> int:
    """Passes that take `_BLOCK` seconds; the first pass, which is slower than all others, warms up."""
    _seconds(call, inputs, 1)
    return max(1, round(_BLOCK / _seconds(call, inputs, 2)))


def _seconds(call: Pass, inputs: tuple[Any, ...], passes: int) -> float:
    start = time.perf_counter()
    for _ in range(passes):
        call(*inputs)
    return (time.perf_counter() - start) / passes
