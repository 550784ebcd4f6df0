"""How the study went: every trial as it ended, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..metric import Metric
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from .theme import BLUE, GREY, REFERENCE, VERMILION, axis_title, new_figure, shown


class Drawn(NamedTuple):
    """What is drawn.

    Attributes:
        complete: number and metric of the trials that ran to their end.
        stopped: likewise of those that were stopped early: their last value at α = 0.
        best: number and metric of each trial that was the best so far within the budget.
        last: the last trial's number.
        baseline: its metric.
        metric: that is drawn.
    """

    complete: tuple[tuple[int, float], ...]
    stopped: tuple[tuple[int, float], ...]
    best: tuple[tuple[int, float], ...]
    last: int
    baseline: float | None
    metric: Metric


def drawn(view: StudyView, lines: Sequence[TrialLine]) -> Drawn:
    """What is drawn of a study, by the trials' numbers."""
    quality = view.metric.quality
    best: list[tuple[int, float]] = []
    complete = [line for line in lines if line.measured and line.metric is not None]
    for line in complete:
        value = line.metric or 0.0
        if line.within is not False and (not best or quality(value) > quality(best[-1][1])):
            best.append((line.number, value))
    return Drawn(
        complete=tuple((line.number, line.metric or 0.0) for line in complete),
        stopped=tuple(
            (line.number, line.metric) for line in lines if line.state == "pruned" and line.metric is not None
        ),
        best=tuple(best),
        last=max((line.number for line in lines), default=0),
        baseline=None if view.baseline is None else view.baseline.metric,
        metric=view.metric,
    )


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    metric = found.metric
    chart = new_figure(x="trial", y=axis_title(metric, "validation"), height=360)
    for points, name, colour, symbol in (
        (found.stopped, "stopped early", GREY, "x"),
        (found.complete, "ran to the end", BLUE, "circle"),
    ):
        if points:
            chart.add_scatter(
                x=[number for number, _ in points],
                y=[shown(metric, value) for _, value in points],
                name=name,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 6},
                hovertemplate="trial %{x}: %{y:.4g}<extra></extra>",
            )
    if found.best:
        steps = [*found.best, (found.last, found.best[-1][1])]
        chart.add_scatter(
            x=[number for number, _ in steps],
            y=[shown(metric, value) for _, value in steps],
            name="best so far",
            mode="lines",
            line={"color": VERMILION, "shape": "hv", "width": 2},
            hovertemplate="best so far: %{y:.4g}<extra></extra>",
        )
    if found.baseline is not None:
        chart.add_hline(
            y=shown(metric, found.baseline),
            line={"color": REFERENCE, "dash": "dash", "width": 1},
            annotation={"text": "baseline", "font": {"color": REFERENCE}, "xanchor": "right"},
        )
    return chart
