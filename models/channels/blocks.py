"""Channels in equal blocks, as layers in groups read and write them: every block keeps as many of its channels."""

from collections.abc import Iterable, Sequence
from math import lcm
from typing import NamedTuple

from .layouts import Layout, Segment, unite
from .numbers.forms import layout_parts


class Demand(NamedTuple):
    """What a layer in groups asks of channels that it reads, writes or normalises.

    Attributes:
        name: of the layer.
        layout: the channels.
        groups: number of equal blocks in which they lie.
    """

    name: str
    layout: Layout
    groups: int


def settle(demands: Iterable[Demand]) -> None:
    """Tells each set of channels how many blocks it has, after all is known of what was taken apart and united."""
    demands = list(demands)
    for demand in demands:
        if blocks_of(demand.layout.segments, demand.groups) is None:
            _line_up(demand)
    for name, layout, groups in demands:
        blocks = blocks_of(layout.segments, groups)
        if blocks is None:
            layout.fix(f"{name} has {groups} groups, among which its channels are not alike")
            continue
        for segment, count in zip(layout.segments, blocks, strict=True):
            channels = segment.channels
            channels.blocks = lcm(channels.blocks, count)
            if 1 < channels.blocks == channels.width:
                layout.fix(f"layers in groups, such as {name}, leave one channel in each of its blocks")


def blocks_of(segments: Sequence[Segment], groups: int) -> tuple[int, ...] | None:
    """Of each segment the blocks in which it must lie, so that all groups are of one size at any width.

    Where a group holds several whole segments, each of them is one block. None where the groups do not line up.

    Args:
        segments: of a dimension whose places lie in equal groups.
        groups: their number.
    """
    each, rest = divmod(groups, len(segments))
    if not rest and len(set(segments)) == 1 and segments[0].channels.width % each == 0:
        return (each,) * len(segments)
    held, rest = divmod(len(segments), groups)
    if not rest and all(segment == segments[i % held] for i, segment in enumerate(segments)):
        return (1,) * len(segments)
    return None


def _line_up(demand: Demand) -> None:
    """Makes the segments of all groups the same channels, where that can be done."""
    segments = demand.layout.segments
    if demand.groups % len(segments) == 0 and len({segment.size for segment in segments}) == 1:
        for segment in segments[1:]:
            unite(segments[:1], (segment,))
    else:
        layout_parts(demand.layout, demand.groups)
