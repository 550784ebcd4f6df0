"""Metric against cost: every network that was measured, the front, the baseline, and what was delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..database.findings.outcome import Outcome
from ..metric import Metric
from ..statistics import wilson
from ..tables.study import Baseline, StudyView
from ..tables.trials import TrialLine
from .theme import BLUE, GREY, REFERENCE, SKY, VERMILION, axis_title, new_figure, safe, shown

COSTS = {"macs": "MACs", "parameters": "parameters", "latency": "latency"}
# With more trials on the front their intervals hide them.
_MOST_BARS = 20


class Point(NamedTuple):
    """A network: its share of the baseline's cost, its metric, the metric's interval if it has one, and its name."""

    cost: float
    metric: float
    interval: tuple[float, float] | None
    name: str


class Drawn(NamedTuple):
    """What is drawn.

    Attributes:
        cost: "macs", "parameters" or "latency".
        trials: within the budget, not on the front.
        over: those over the budget.
        front: from the cheapest to the best.
        steps: whether the front is one of metric and this cost alone, and is drawn as steps.
        baseline: on the validation split.
        delivered: on the test split.
        metric: that is drawn.
    """

    cost: str
    trials: tuple[Point, ...]
    over: tuple[Point, ...]
    front: tuple[Point, ...]
    steps: bool
    baseline: Point | None
    delivered: Point | None
    metric: Metric


def drawn(view: StudyView, lines: Sequence[TrialLine], cost: str | None = None) -> Drawn:
    """What is drawn of a study.

    Args:
        view: of the study.
        lines: its trials.
        cost: "macs", "parameters" or "latency"; by default the first one among the study's objectives, else the MACs
            or, where a budget makes all of them equal, the parameters.
    """
    measured = [line for line in lines if line.measured and line.metric is not None]
    cost = cost or _cost(view, measured)
    named = [(line, _point(line, cost, view)) for line in measured]
    front = [point for line, point in named if line.front]
    return Drawn(
        cost=cost,
        trials=tuple(point for line, point in named if line.within is not False and not line.front),
        over=tuple(point for line, point in named if line.within is False),
        front=tuple(sorted(front)),
        steps=len(costs_of(view)) <= 1,
        baseline=None if view.baseline is None else _baseline(view.baseline),
        delivered=None if view.outcome is None else _delivered(view.outcome, cost),
        metric=view.metric,
    )


def costs_of(view: StudyView) -> list[str]:
    """The costs among a study's objectives."""
    return [name for name in view.objectives if name in COSTS]


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    metric, title = found.metric, COSTS[found.cost]
    chart = new_figure(x=f"{title}, share of the baseline's (%)", y=axis_title(metric), height=420)
    for points, name, colour, symbol in (
        (found.over, "over the budget", GREY, "x-thin-open"),
        (found.trials, "trials (validation)", SKY, "circle"),
    ):
        if points:
            chart.add_scatter(
                **_places(points, metric),
                name=name,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 7},
            )
    if found.front:
        bars = _bars(found.front, metric) if len(found.front) <= _MOST_BARS else {}
        chart.add_scatter(
            **_places(found.front, metric),
            **bars,
            name="front (validation)",
            mode="lines+markers" if found.steps else "markers",
            line={"color": BLUE, "width": 1, "shape": "hv", "dash": "dot"},
            marker={"color": BLUE, "symbol": "square", "size": 9},
        )
    if found.delivered is not None:
        chart.add_scatter(
            **_places([found.delivered], metric),
            **_bars([found.delivered], metric),
            name="delivered (test)",
            mode="markers",
            marker={"color": VERMILION, "symbol": "star", "size": 14},
        )
    if found.baseline is not None:
        _add_baseline(chart, found.baseline, metric)
    return chart


def _add_baseline(chart: go.Figure, baseline: Point, metric: Metric) -> None:
    """The baseline's metric as a line and its interval as a band: its cost, 100 %, would crowd all others."""
    chart.add_hline(
        y=shown(metric, baseline.metric),
        line={"color": REFERENCE, "dash": "dash", "width": 1},
        annotation={
            "text": f"baseline (100 %): {metric.text(baseline.metric)}",
            "font": {"color": REFERENCE},
            "xanchor": "right",
        },
    )
    if baseline.interval is not None:
        low, high = (shown(metric, end) for end in baseline.interval)
        chart.add_hrect(y0=low, y1=high, fillcolor=REFERENCE, opacity=0.13, line_width=0, layer="below")


def _cost(view: StudyView, measured: Sequence[TrialLine]) -> str:
    if costs := costs_of(view):
        return costs[0]
    shares = [line.row.macs_share or 0.0 for line in measured]
    others = [line.row.parameters_share or 0.0 for line in measured]
    all_equal = len(shares) > 1 and max(shares) - min(shares) < 0.01 < max(others) - min(others)
    return "parameters" if all_equal else "macs"


def _point(line: TrialLine, cost: str, view: StudyView) -> Point:
    value = line.metric or 0.0
    interval = None
    if line.front and view.metric.kind == "share" and view.baseline is not None:
        found = wilson(value, view.baseline.examples)
        interval = (found.low, found.high)
    return Point(getattr(line.row, f"{cost}_share"), value, interval, f"trial {line.number}: {line.recipe or ''}")


def _baseline(baseline: Baseline) -> Point:
    return Point(1.0, baseline.metric, baseline.interval, f"baseline, {baseline.examples} validation examples")


def _delivered(outcome: Outcome, cost: str) -> Point:
    share = {
        "macs": outcome.macs / outcome.full_macs,
        "parameters": outcome.parameters / outcome.full_parameters,
        "latency": outcome.latency_share,
    }[cost]
    name = f"trial {outcome.trial}'s recipe, {outcome.examples} {outcome.split} examples"
    return Point(share, outcome.network.value, outcome.network.interval, name)


def _places(points: Sequence[Point], metric: Metric) -> dict[str, object]:
    return {
        "x": [100 * point.cost for point in points],
        "y": [shown(metric, point.metric) for point in points],
        "text": [
            f"{safe(point.name)}<br>{metric.text(point.metric)} at {100 * point.cost:.1f} %"
            + (f"<br>95 % interval {metric.interval_text(*point.interval)}" if point.interval else "")
            for point in points
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _bars(points: Sequence[Point], metric: Metric) -> dict[str, object]:
    def reach(point: Point, end: int) -> float:
        return abs(shown(metric, point.interval[end]) - shown(metric, point.metric)) if point.interval else 0.0

    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [reach(point, 1) for point in points],
            "arrayminus": [reach(point, 0) for point in points],
            "thickness": 1,
            "width": 3,
        }
    }
