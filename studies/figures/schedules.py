"""The α schedules that were tried, drawn over each trial's compute and coloured by what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from ..metric import Metric
from ..tables.milestones import Milestone, milestones_of
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from .theme import QUARTERS, new_figure, quarter, safe

# More lines than these are a blot; the best are among those that are drawn.
MOST_LINES = 80


class Line(NamedTuple):
    """A trial's α over its compute; `quarter` is 3 for the best quarter of the trials, 0 for the worst."""

    name: str
    compute: tuple[float, ...]
    alpha: tuple[float, ...]
    quarter: int


class Drawn(NamedTuple):
    """What is drawn: the worst first, so that the best lie above; `tried` counts those that are not drawn, too."""

    lines: tuple[Line, ...]
    tried: int


def drawn(view: StudyView, lines: Sequence[TrialLine]) -> Drawn:
    """What is drawn of a study: the trials with a metric and more than one milestone."""
    quality, trials = view.metric.quality, {trial.number: trial for trial in view.trials}
    known = sorted(
        (line for line in lines if line.metric is not None),
        key=lambda line: (-quality(line.metric or 0.0), line.number),
    )
    found = []
    for rank in _spread(len(known)):
        curve = alpha_curve(view, trials[known[rank].number])
        if curve is not None:
            name = _name(known[rank], view.metric)
            found.append(Line(name, *curve, quarter(rank, len(known))))
    return Drawn(tuple(reversed(found)), len(known))


def alpha_curve(view: StudyView, trial: FrozenTrial) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """A trial's compute and α: its recipe's exactly or, where α followed from losses, as its milestones had it."""
    milestones = [m for m in milestones_of(trial) if m.compute is not None and m.alpha is not None]
    if len(milestones) < 2:
        return None
    recipe, spent = view.recipe(trial), float(milestones[-1].compute or 0.0)
    course = None if recipe is None else view.course_of(recipe)
    if course is None or not course.points or view.definition is None:
        return tuple(m.compute or 0.0 for m in milestones), tuple(m.alpha or 0.0 for m in milestones)
    places = over_compute([place for place, _ in course.points], milestones, view.definition.trial.reports)
    pairs = [
        (place, alpha) for place, (_, alpha) in zip(places, course.points, strict=True) if place <= spent * (1 + 1e-9)
    ]
    return tuple(place for place, _ in pairs), tuple(alpha for _, alpha in pairs)


def over_compute(progress: Sequence[float], milestones: Sequence[Milestone], reports: int) -> list[float]:
    """Shares of a trial as compute, between its milestones evenly; beyond the last one infinite.

    Args:
        progress: shares.
        milestones: that it passed.
        reports: how many a whole trial has.
    """
    known = [milestone.number / reports for milestone in milestones]
    compute = [milestone.compute or 0.0 for milestone in milestones]
    found = np.interp(progress, known, compute)
    return [float(c) if p <= known[-1] + 1e-9 else float("inf") for p, c in zip(progress, found, strict=True)]


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    chart = new_figure(x="compute (epochs of the baseline's training)", y="α, mean of the groups", height=400)
    for index, (name, colour, width) in enumerate(QUARTERS):
        for position, line in enumerate(each for each in found.lines if each.quarter == index):
            chart.add_scatter(
                x=line.compute,
                y=line.alpha,
                mode="lines",
                name=name,
                legendgroup=name,
                legendrank=1000 - index,
                showlegend=position == 0,
                line={"color": colour, "width": width},
                hovertemplate=f"{safe(line.name)}<br>α %{{y:.2f}} at %{{x:.2f}} epochs<extra></extra>",
            )
    chart.update_yaxes(range=[-0.03, 1.05])
    return chart


def _spread(count: int) -> list[int]:
    """Ranks to draw: all or, of many, the best half of `MOST_LINES` and the others evenly."""
    if count <= MOST_LINES:
        return list(range(count))
    best = MOST_LINES // 2
    others = np.linspace(best, count - 1, MOST_LINES - best).round().astype(int)
    return [*range(best), *map(int, others)]


def _name(line: TrialLine, metric: Metric) -> str:
    return f"trial {line.number}, {line.row.shape or '?'}: {metric.text(line.metric or 0.0)}"
