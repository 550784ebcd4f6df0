"""How much each parameter mattered: a bar for each, the largest on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..tables.importances import Importance
from .theme import BLUE, new_figure, safe

MOST_BARS = 15


class Drawn(NamedTuple):
    """What is drawn: names, shares of all importance, and how many trials each is judged on; the largest first."""

    parameters: tuple[str, ...]
    shares: tuple[float, ...]
    trials: tuple[int, ...]


def drawn(found: Sequence[Importance]) -> Drawn:
    """What is drawn: the most important parameters."""
    most = found[:MOST_BARS]
    return Drawn(
        tuple(each.parameter for each in most),
        tuple(each.importance for each in most),
        tuple(each.trials for each in most),
    )


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    chart = new_figure(x="share of all parameters' importance (%)", height=110 + 26 * len(found.parameters))
    chart.add_bar(
        x=[100 * share for share in found.shares],
        y=list(map(safe, found.parameters)),
        orientation="h",
        marker={"color": BLUE},
        text=[f"{100 * share:.0f} %" for share in found.shares],
        textposition="outside",
        cliponaxis=False,
        customdata=found.trials,
        hovertemplate="%{y}: %{x:.1f} %<br>of %{customdata} trials<extra></extra>",
    )
    chart.update_yaxes(autorange="reversed", type="category")
    chart.update_xaxes(range=[0, 100 * max(found.shares, default=1) * 1.15])
    return chart
