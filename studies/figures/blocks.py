"""The network as a row of blocks, before and after, to one scale: as wide as its channels, as high as its images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..tables.widths import WidthRow
from .theme import REFERENCE, VERMILION, dressed, safe, template


class Block(NamedTuple):
    """A group: its name, its channels in the full and in the small network, and the height of its images."""

    name: str
    full: int
    width: int
    height: int


def drawn(rows: Sequence[WidthRow]) -> tuple[Block, ...]:
    """What is drawn of a trial's widths; empty where the full ones are not known."""
    if any(row.full is None for row in rows):
        return ()
    return tuple(Block(row.group, row.full or 0, row.width, max(row.resolution, default=1)) for row in rows)


def figure(blocks: tuple[Block, ...]) -> go.Figure:
    """The figure: the full network above, the small one below."""
    chart = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.04)
    chart.update_layout(template=template("light"))
    # Each block stands where its full one begins, so that the eye sees what is gone.
    gap = max(1.0, 0.012 * sum(block.full for block in blocks))
    starts = [0.0, *accumulate(block.full + gap for block in blocks)][: len(blocks)]
    for row, name, colour, widths in (
        (1, "baseline", REFERENCE, [block.full for block in blocks]),
        (2, "found", VERMILION, [block.width for block in blocks]),
    ):
        chart.add_bar(
            x=[start + width / 2 for start, width in zip(starts, widths, strict=True)],
            y=[block.height for block in blocks],
            base=[-block.height / 2 for block in blocks],
            width=widths,
            name=name,
            text=[str(width) for width in widths],
            textposition="outside" if len(blocks) <= 20 else "none",
            cliponaxis=False,
            marker={"color": colour},
            customdata=[(safe(b.name), w, b.full, b.height) for b, w in zip(blocks, widths, strict=True)],
            hovertemplate="%{customdata[0]}: %{customdata[1]} of %{customdata[2]} channels, "
            "%{customdata[3]} pixels high<extra></extra>",
            row=row,
            col=1,
        )
    dressed(chart, height=300)
    chart.update_xaxes(visible=False)
    chart.update_yaxes(visible=False)
    tallest = max((block.height for block in blocks), default=1)
    chart.update_yaxes(range=[-0.6 * tallest, 0.8 * tallest])
    return chart
