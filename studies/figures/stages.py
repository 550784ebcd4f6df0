"""The stages of a trial as a timeline: when each fades, and from when on it trains on folded."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from ..tables.milestones import milestones_of
from ..tables.study import StudyView
from .schedules import over_compute
from .theme import GREEN, SKY, new_figure, safe


class Bar(NamedTuple):
    """A stage, in epochs of the baseline's training: it fades from `start` to `end`, and the trial ends at `last`."""

    name: str
    groups: tuple[str, ...]
    start: float
    end: float
    last: float


def drawn(view: StudyView, trial: FrozenTrial) -> tuple[Bar, ...]:
    """What is drawn of a trial that ran to its end; empty where its recipe or its compute is not known."""
    recipe = view.recipe(trial)
    course = None if recipe is None else view.course_of(recipe)
    milestones = [m for m in milestones_of(trial) if m.compute is not None]
    if course is None or view.definition is None or len(milestones) < 2:
        return ()
    ends = [place for stage in course.stages for place in (stage.start, stage.end)]
    places = over_compute(ends, milestones, view.definition.trial.reports)
    last = float(milestones[-1].compute or 0.0)
    return tuple(
        Bar(f"stage {i + 1}", stage.groups, min(places[2 * i], last), min(places[2 * i + 1], last), last)
        for i, stage in enumerate(course.stages)
    )


def figure(bars: tuple[Bar, ...]) -> go.Figure:
    """The figure."""
    chart = new_figure(x="compute (epochs of the baseline's training)", height=150 + 42 * len(bars))
    names = [f"{bar.name} ({len(bar.groups)} {'group' if len(bar.groups) == 1 else 'groups'})" for bar in bars]
    hover = [safe(", ".join(bar.groups)) for bar in bars]
    for start, end, name, colour, pattern in (
        ([bar.start for bar in bars], [bar.end for bar in bars], "α falls", SKY, "/"),
        ([bar.end for bar in bars], [bar.last for bar in bars], "trains on at α = 0", GREEN, ""),
    ):
        chart.add_bar(
            base=start,
            x=[b - a for a, b in zip(start, end, strict=True)],
            y=names,
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": pattern}},
            customdata=list(zip(hover, start, end, strict=True)),
            hovertemplate=f"%{{y}}: {name}<br>%{{customdata[1]:.2f}} to %{{customdata[2]:.2f}} epochs<br>"
            "%{customdata[0]}<extra></extra>",
        )
    chart.update_layout(barmode="overlay")
    chart.update_yaxes(autorange="reversed", type="category")
    chart.update_xaxes(rangemode="tozero")
    return chart
