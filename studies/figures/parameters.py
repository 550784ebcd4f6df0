"""Which values of a parameter win: the metric of every trial against what it had."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from plotly.subplots import make_subplots

from ..metric import Metric
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from .theme import BLUE, GREY, VERMILION, axis_title, dressed, safe, shown, template

_COLUMNS = 2


class Panel(NamedTuple):
    """One parameter.

    Attributes:
        parameter: its name.
        values: of the trials that have it, as numbers or words.
        metrics: theirs.
        names: of the trials.
        stopped: whether each was stopped early.
        log: whether it was searched on a logarithmic scale.
        words: the choices of one that has words, those with the best trial first.
    """

    parameter: str
    values: tuple[float | str, ...]
    metrics: tuple[float, ...]
    names: tuple[str, ...]
    stopped: tuple[bool, ...]
    log: bool
    words: tuple[str, ...]


class Drawn(NamedTuple):
    """What is drawn, a panel for each parameter."""

    panels: tuple[Panel, ...]
    metric: Metric


def drawn(view: StudyView, lines: Sequence[TrialLine], parameters: Sequence[str]) -> Drawn:
    """What is drawn of the named parameters; those that no trial with a metric has are left out."""
    known = {line.number: line for line in lines if line.metric is not None and line.state in ("complete", "pruned")}
    panels = []
    for name in parameters:
        having = [t for t in view.trials if t.number in known and name in t.params]
        if not having:
            continue
        distribution = having[0].distributions[name]
        worded = isinstance(distribution, CategoricalDistribution)
        metrics = tuple(known[t.number].metric or 0.0 for t in having)
        values = tuple(_word(t.params[name]) if worded else float(t.params[name]) for t in having)
        best: dict[str, float] = {}
        for value, metric in zip(values, metrics, strict=True):
            if worded:
                best[str(value)] = max(best.get(str(value), float("-inf")), view.metric.quality(metric))
        panels.append(
            Panel(
                parameter=name,
                values=values,
                metrics=metrics,
                names=tuple(f"trial {t.number}" for t in having),
                stopped=tuple(known[t.number].state == "pruned" for t in having),
                log=isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log,
                words=tuple(sorted(best, key=lambda word: -best[word])),
            )
        )
    return Drawn(tuple(panels), view.metric)


def figure(found: Drawn) -> go.Figure:
    """The figure: one panel wide for a single parameter, else two a row."""
    columns = min(_COLUMNS, len(found.panels)) or 1
    rows = -(-len(found.panels) // columns) or 1
    chart = make_subplots(rows, columns, shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.32 / rows)
    chart.update_layout(template=template("light"))
    for index, panel in enumerate(found.panels):
        row, column = index // columns + 1, index % columns + 1
        _add(chart, panel, found.metric, row, column, first=index == 0)
        axis: dict[str, Any] = {
            "title": {"text": safe(panel.parameter), "standoff": 4},
            "type": "log" if panel.log else None,
        }
        if panel.words:
            axis = {**axis, "type": "category", "categoryarray": list(map(safe, panel.words)), "categoryorder": "array"}
        chart.update_xaxes(axis, row=row, col=column)
        if column == 1:
            chart.update_yaxes({"title": {"text": axis_title(found.metric), "standoff": 4}}, row=row, col=column)
    return dressed(chart, height=120 + 230 * rows)


def _add(chart: go.Figure, panel: Panel, metric: Metric, row: int, column: int, *, first: bool) -> None:
    for stopped, name, colour, symbol in (
        (True, "stopped early", GREY, "x"),
        (False, "ran to the end", BLUE, "circle"),
    ):
        chosen = [i for i, was in enumerate(panel.stopped) if was == stopped]
        chart.add_scatter(
            x=[safe(v) if isinstance(v := panel.values[i], str) else v for i in chosen],
            y=[shown(metric, panel.metrics[i]) for i in chosen],
            text=[panel.names[i] for i in chosen],
            name=name,
            legendgroup=name,
            showlegend=first and bool(chosen),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.8},
            hovertemplate="%{text}<br>%{x}: %{y:.4g}<extra></extra>",
            row=row,
            col=column,
        )
    if panel.words:
        ended = [(v, m) for v, m, was in zip(panel.values, panel.metrics, panel.stopped, strict=True) if not was]
        medians = {
            word: statistics.median(found) for word in panel.words if (found := [m for v, m in ended if v == word])
        }
        chart.add_scatter(
            x=list(map(safe, medians)),
            y=[shown(metric, median) for median in medians.values()],
            name="median of those that ran to the end",
            legendgroup="median",
            showlegend=first,
            mode="markers",
            marker={"color": VERMILION, "symbol": "line-ew-open", "size": 22, "line": {"width": 3}},
            hovertemplate="median of %{x}: %{y:.4g}<extra></extra>",
            row=row,
            col=column,
        )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
