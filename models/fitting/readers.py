"""What the layers that read a tensor make of it: which of its directions count, and whether its mean does."""

from collections.abc import Container, Iterable, Iterator, Sequence

import torch
from torch import Tensor, fx

from ..channels.groups import Analysis
from ..channels.layouts import Layout
from ..channels.reuse import take_constants
from ..layers.kinds import BATCH_NORM, by_output, kind_of
from ..layers.narrowing import own_tensor


def mean_is_restored(analysis: Analysis, readers: Iterable[fx.Node], branched: Container[str]) -> bool:
    """Whether BatchNorms make up for any constant that is added to a channel of what `readers` read.

    They do where what a reader yields, and what its P makes of that, goes into BatchNorms alone. Zeros padded around a
    tensor are left out of account; a transposed convolution makes no constant of a constant. A bias of P would restore
    the mean at α = 0, but not on the original's side before.

    Args:
        analysis: of the network.
        readers: calls of layers.
        branched: names of the groups that have a branch.
    """
    return all(_restores_mean(analysis, reader, branched) for reader in readers)


def mean_is_free(analysis: Analysis, readers: Sequence[fx.Node], branched: Container[str]) -> bool:
    """Whether E need not explain the mean: BatchNorms restore it, or it goes into the readers' biases."""
    return take_constants(analysis.graph, readers) or mean_is_restored(analysis, readers, branched)


def _restores_mean(analysis: Analysis, reader: fx.Node, branched: Container[str]) -> bool:
    graph = analysis.graph
    layer = graph.traced.module(reader)
    kind = kind_of(layer)
    if reader not in graph.layouts:
        return False
    groups = analysis.segment_groups(graph.layouts[reader])
    if any(group not in branched for group in groups) or kind is None or kind.at_inputs or not reader.users:
        return False
    return all(user.op == "call_module" and kind_of(graph.traced.module(user)) is BATCH_NORM for user in reader.users)


def metric(analysis: Analysis, readers: Sequence[fx.Node], layout: Layout, segment: int, gram: Tensor) -> Tensor:
    """M (C, C): what all readers yield of a change Δ (C,) in a segment's channels has the energy Δᵀ M Δ.

    Each output channel of a reader counts the same, by its own share of what it yields of the tensor itself, and so
    does each reader: M = Σ_readers mean_o Σ_s w_os w_osᵀ / Σ_s w_osᵀ G w_os, where w_os (C,) are the weights by which
    place s of the kernel adds to output o.

    Args:
        analysis: of the network.
        readers: calls of the layers that read the tensor.
        layout: of the tensor.
        segment: number of the segment in the layout.
        gram: G (C, C) of the segment.
    """
    M = torch.zeros_like(gram)
    for layer in dict.fromkeys(analysis.graph.traced.module(reader) for reader in readers):
        weight = own_tensor(layer, "weight")
        assert weight is not None
        weight = by_output(layer, weight)
        part = torch.zeros_like(gram)
        heard = 0
        for w, channels in _by_group(weight.to(torch.promote_types(weight.dtype, torch.float32)), layout, segment):
            energies = ((w @ gram[channels, channels].to(w.dtype)) * w).sum((1, 2))
            alive = energies > 0
            rows = (w[alive] / energies[alive].sqrt()[:, None, None]).flatten(0, 1)
            part[channels, channels] += (rows.T @ rows).double()
            heard += int(alive.sum())
        M += part / max(1, heard)
    return M


def _by_group(weight: Tensor, layout: Layout, segment: int) -> Iterator[tuple[Tensor, slice]]:
    """For each group of a reader the weights (out, places, c) by which it reads channels of a segment, and which.

    Args:
        weight: (out, in / groups, *kernel) of the reader.
        layout: of the tensor that it reads.
        segment: number of the segment in the layout.
    """
    sizes = [part.size for part in layout.segments]
    start, span, size = sum(sizes[:segment]), layout.segments[segment].span, weight.shape[1]
    for i, w in enumerate(weight.chunk(layout.size // size)):
        begin, end = max(start, i * size), min(start + sizes[segment], (i + 1) * size)
        if begin < end:
            channels = slice((begin - start) // span, (end - start) // span)
            read = w[:, begin - i * size : end - i * size]
            yield read.reshape(len(w), channels.stop - channels.start, -1).transpose(1, 2), channels
