"""How trials went: the metric at α = 0 over compute, stopped trials faint; of the best one that at its α, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..metric import Metric
from ..tables.milestones import milestones_of
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from .theme import BLUE, GREY, REFERENCE, SERIES, VERMILION, axis_title, gapped, new_figure, safe, shown

# The best are drawn one by one.
MOST_NAMED = 5
# Of others, so many at most.
MOST_LINES = 150


class Line(NamedTuple):
    """A trial's metric over its compute."""

    name: str
    compute: tuple[float, ...]
    metric: tuple[float, ...]


class Drawn(NamedTuple):
    """What is drawn.

    Attributes:
        best: at α = 0, the best trial first.
        blended: the best trial's at its current α.
        others: at α = 0, of trials that ran to their end.
        stopped: likewise of those that were stopped early or failed.
        baseline: the baseline's metric.
        metric: that is drawn.
    """

    best: tuple[Line, ...]
    blended: Line | None
    others: tuple[Line, ...]
    stopped: tuple[Line, ...]
    baseline: float | None
    metric: Metric


def drawn(view: StudyView, lines: Sequence[TrialLine]) -> Drawn:
    """What is drawn of a study."""
    trials, quality = {trial.number: trial for trial in view.trials}, view.metric.quality
    ranked = sorted(lines, key=lambda line: (line.state != "complete", -quality(line.metric or 0.0), line.number))
    found: dict[str, list[Line]] = {"complete": [], "stopped": []}
    blended = None
    for line in ranked:
        if sum(map(len, found.values())) >= MOST_LINES + MOST_NAMED:
            break
        known = [m for m in milestones_of(trials[line.number]) if m.compute is not None and m.folded_metric is not None]
        if len(known) < 2:
            continue
        compute = tuple(m.compute or 0.0 for m in known)
        value = "" if line.metric is None else f", {view.metric.text(line.metric)}"
        name = f"trial {line.number} ({line.row.shape or '?'}{value})"
        kind = "complete" if line.state == "complete" else "stopped"
        found[kind].append(Line(name, compute, tuple(m.folded_metric or 0.0 for m in known)))
        if kind == "complete" and blended is None:
            blended = Line(f"trial {line.number}, at its α", compute, tuple(m.metric or 0.0 for m in known))
    complete = found["complete"]
    return Drawn(
        best=tuple(complete[:MOST_NAMED]),
        blended=blended,
        others=tuple(complete[MOST_NAMED:]),
        stopped=tuple(found["stopped"]),
        baseline=None if view.baseline is None else view.baseline.metric,
        metric=view.metric,
    )


def figure(found: Drawn) -> go.Figure:
    """The figure."""
    metric = found.metric
    chart = new_figure(
        x="compute (epochs of the baseline's training)", y=axis_title(metric, "validation") + " at α = 0", height=440
    )
    for lines, name, colour, opacity in ((found.stopped, "stopped", GREY, 0.35), (found.others, "others", BLUE, 0.3)):
        if lines:
            chart.add_scatter(
                x=gapped([line.compute for line in lines]),
                y=gapped([[shown(metric, value) for value in line.metric] for line in lines]),
                name=name,
                mode="lines",
                line={"color": colour, "width": 1},
                opacity=opacity,
                hoverinfo="skip",
            )
    named = [(line, colour, "solid") for line, colour in zip(found.best, SERIES, strict=False)]
    if found.blended is not None:
        named.append((found.blended, VERMILION, "dot"))
    for line, colour, dash in reversed(named):
        chart.add_scatter(
            x=line.compute,
            y=[shown(metric, value) for value in line.metric],
            name=safe(line.name),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 5},
            hovertemplate=f"{safe(line.name)}<br>%{{y:.4g}} at %{{x:.2f}} epochs<extra></extra>",
        )
    if found.baseline is not None:
        chart.add_hline(
            y=shown(metric, found.baseline),
            line={"color": REFERENCE, "dash": "dash", "width": 1},
            annotation={"text": "baseline", "font": {"color": REFERENCE}, "xanchor": "right"},
        )
    chart.update_layout(legend={"traceorder": "reversed"})
    return chart
