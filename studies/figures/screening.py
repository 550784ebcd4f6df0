"""Screened widths: their loss untrained against what training made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..metric import Metric
from ..tables.screening import Screened
from .theme import BLUE, GREY, axis_title, new_figure, shown


class Drawn(NamedTuple):
    """What is drawn.

    Attributes:
        losses: of the widths that were trained as well.
        metrics: theirs.
        trials: the numbers of their trials.
        untrained: losses of the widths that were not.
        metric: that is drawn.
    """

    losses: tuple[float, ...]
    metrics: tuple[float, ...]
    trials: tuple[int, ...]
    untrained: tuple[float, ...]
    metric: Metric


def drawn(rows: Sequence[Screened], metric: Metric) -> Drawn:
    """What is drawn of a screening."""
    trained = [row for row in rows if row.metric is not None and row.trial is not None]
    return Drawn(
        losses=tuple(row.loss for row in trained),
        metrics=tuple(row.metric or 0.0 for row in trained),
        trials=tuple(row.trial or 0 for row in trained),
        untrained=tuple(row.loss for row in rows if row.metric is None),
        metric=metric,
    )


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    metric = found.metric
    chart = new_figure(x="validation loss, untrained", y=axis_title(metric, "trained") + ", validation", height=380)
    values = [shown(metric, value) for value in found.metrics]
    if found.untrained:
        floor = min(values, default=0.0)
        chart.add_scatter(
            x=found.untrained,
            y=[floor - 0.06 * (max(values, default=1.0) - floor or 1.0)] * len(found.untrained),
            name="not trained",
            mode="markers",
            marker={"color": GREY, "symbol": "line-ns-open", "size": 12},
            hovertemplate="loss %{x:.4g}, not trained<extra></extra>",
        )
    chart.add_scatter(
        x=found.losses,
        y=values,
        text=[f"trial {number}" for number in found.trials],
        name="trained",
        mode="markers",
        marker={"color": BLUE, "size": 10},
        hovertemplate="%{text}<br>loss %{x:.4g}, trained %{y:.4g}<extra></extra>",
    )
    return chart
