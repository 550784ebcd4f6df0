"""Which channels of each group stay: by what they explain, by their weights, or by chance."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..channels.groups import Analysis
from ..layers.kinds import BATCH_NORM, by_output, kind_of
from ..layers.narrowing import own_tensor
from .original import Original

Scores = dict[str, Tensor]
Choice = Callable[[Analysis, dict[str, int], Original], dict[str, Tensor]]


def choose_channels(analysis: Analysis, widths: dict[str, int], original: Original, choice: str) -> dict[str, Tensor]:
    """For each group the indices (k,) of the channels that stay, as many of each block, block by block.

    Args:
        analysis: of the network.
        widths: group → channels to choose.
        original: the network on the data that "greedy" looks at; the others leave it alone.
        choice: "greedy" takes the channel that explains most of what the readers still miss, again and again; "l1"
            those of the writers' largest absolute weights (Li et al., "Pruning filters for efficient ConvNets", 2017);
            "bn-scale" those that BatchNorms scale most (Liu et al., "Network slimming", 2017), "l1" where there are
            none; "random" draws them.

    Raises:
        NetworkError: if activations are not finite.
    """
    chosen = CHOICES[choice](analysis, widths, original)
    sizes = {group.name: group.width // group.blocks for group in analysis.groups}
    return {name: _by_block(order, sizes[name]) for name, order in chosen.items()}


def _by_block(order: Tensor, size: int) -> Tensor:
    """Channels (k,) block by block; in each as they were."""
    return order[torch.argsort(order // size, stable=True)]


def _explaining(analysis: Analysis, widths: dict[str, int], original: Original) -> dict[str, Tensor]:
    return original.best(widths, {group.name: group.blocks for group in analysis.groups})


def _highest(scores_of: Callable[[Analysis, dict[str, int]], Scores]) -> Choice:
    """The channels of the highest scores; no data is looked at."""

    def choose(analysis: Analysis, widths: dict[str, int], original: Original) -> dict[str, Tensor]:
        scores = scores_of(analysis, widths)
        blocks = {group.name: group.blocks for group in analysis.groups}
        return {name: _best(scores[name], width, blocks[name]) for name, width in widths.items()}

    return choose


def _best(scores: Tensor, width: int, blocks: int) -> Tensor:
    by_block = scores.view(blocks, -1)
    best = by_block.topk(width // blocks).indices
    return (best + torch.arange(blocks, device=best.device)[:, None] * by_block.shape[1]).flatten()


def _written(analysis: Analysis, widths: dict[str, int]) -> Scores:
    """Σ |w| of each channel over all weights that write it."""
    scores: Scores = {}
    graph = analysis.graph
    layers = {str(node.target): node for node, role in graph.roles.items() if role == "write"}
    for path, node in layers.items():
        layout = graph.layouts[node]
        slices = _rows(analysis, path).split([segment.size for segment in layout.segments])
        for name, segment, rows in zip(analysis.segment_groups(layout), layout.segments, slices, strict=True):
            if name in widths:
                by_channel = rows.reshape(segment.channels.width, -1)
                # Twice as quick as a norm, four times as one in float64; half precision would overflow.
                sums = by_channel.abs().sum(1, dtype=torch.promote_types(rows.dtype, torch.float32)).double()
                scores[name] = scores[name] + sums if name in scores else sums
    return scores


def _rows(analysis: Analysis, path: str) -> Tensor:
    """A writer's weight, (C, all that adds to one channel)."""
    layer = analysis.graph.traced.modules[path]
    weight = own_tensor(layer, "weight")
    assert weight is not None
    return by_output(layer, weight).flatten(1)


def _scaled(analysis: Analysis, widths: dict[str, int]) -> Scores:
    """Σ |γ| of each channel over the BatchNorms that it flows through."""
    scores: Scores = {}
    graph = analysis.graph
    for node in graph.roles:
        layer = graph.traced.module(node) if node.op == "call_module" else None
        scale = own_tensor(layer, "weight") if layer is not None and kind_of(layer) is BATCH_NORM else None
        if scale is None:
            continue
        layout = graph.layouts[node]
        slices = scale.abs().double().split([segment.size for segment in layout.segments])
        for name, segment, values in zip(analysis.segment_groups(layout), layout.segments, slices, strict=True):
            if name in widths:
                each = values.view(segment.channels.width, segment.span).sum(1)
                scores[name] = scores[name] + each if name in scores else each
    return {**_written(analysis, widths), **scores}


def _drawn(analysis: Analysis, widths: dict[str, int]) -> Scores:
    return {group.name: torch.rand(group.width) for group in analysis.groups if group.name in widths}


CHOICES: dict[str, Choice] = {
    "greedy": _explaining,
    "l1": _highest(_written),
    "bn-scale": _highest(_scaled),
    "random": _highest(_drawn),
}
# Those that neither run the network nor draw.
BY_WEIGHTS = ("l1", "bn-scale")
