"""Which widths the best trials have, group by group, beside how sensitive each group is and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..metric import Metric
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.widths import width_rows
from .theme import GREY, PURPLE, SERIES, SYMBOLS, dressed, safe, template

MOST_TRIALS = 4


class Shares(NamedTuple):
    """A trial's shares of its groups' channels, and the channels."""

    name: str
    shares: tuple[float, ...]
    widths: tuple[int, ...]


class Drawn(NamedTuple):
    """What is drawn, in the order of the network's forward.

    Attributes:
        groups: their names.
        full: their channels in the full network.
        trials: the best first.
        sensitivity: of each group; empty where it is not known.
        saves: the share of all MACs that go when a group keeps half.
    """

    groups: tuple[str, ...]
    full: tuple[int, ...]
    trials: tuple[Shares, ...]
    sensitivity: tuple[float, ...]
    saves: tuple[float, ...]


def drawn(view: StudyView, lines: Sequence[TrialLine], most: int = MOST_TRIALS) -> Drawn | None:
    """What is drawn of the best trials within the budget, each of other widths; None where there are none.

    Of several objectives they are trials of the front, from that of the best metric evenly to that of the worst.
    """
    trials, quality = {trial.number: trial for trial in view.trials}, view.metric.quality
    several = len(view.objectives) > 1
    ranked = sorted(
        (line for line in lines if line.within and (line.front or not several)),
        key=lambda line: (-quality(line.metric or 0.0), line.number),
    )
    if several and len(ranked) > most:
        ranked = [ranked[round(i * (len(ranked) - 1) / (most - 1))] for i in range(most)]
    found: dict[tuple[int, ...], Shares] = {}
    rows = None
    for line in ranked:
        rows = width_rows(view, trials[line.number])
        if not rows or any(row.share is None for row in rows):
            return None
        widths = tuple(row.width for row in rows)
        shares = Shares(_name(line, view.metric), tuple(row.share or 0.0 for row in rows), widths)
        found.setdefault(widths, shares)
        if len(found) == most:
            break
    if rows is None:
        return None
    known = all(row.sensitivity is not None for row in rows)
    return Drawn(
        groups=tuple(row.group for row in rows),
        full=tuple(row.full or 0 for row in rows),
        trials=tuple(found.values()),
        sensitivity=tuple(row.sensitivity or 0.0 for row in rows) if known else (),
        saves=tuple(row.saves or 0.0 for row in rows),
    )


def figure(found: Drawn) -> go.Figure:
    """The figure: shares above, sensitivity and cost below."""
    chart = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.6, 0.4])
    chart.update_layout(template=template("light"))
    groups = list(map(safe, found.groups))
    for trial, colour, symbol in zip(found.trials, SERIES, SYMBOLS, strict=False):
        chart.add_scatter(
            x=groups,
            y=[100 * share for share in trial.shares],
            name=safe(trial.name),
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"symbol": symbol, "size": 8},
            customdata=list(zip(trial.widths, found.full, strict=True)),
            hovertemplate=f"{safe(trial.name)}<br>%{{x}}: %{{customdata[0]}} of %{{customdata[1]}} channels"
            " (%{y:.1f} %)<extra></extra>",
            row=1,
            col=1,
        )
    for values, name, colour, pattern in (
        (found.sensitivity, "sensitivity: error at half of the channels", PURPLE, "/"),
        (found.saves, "MACs that go at half of the channels", GREY, ""),
    ):
        if values:
            chart.add_bar(
                x=groups,
                y=[100 * value for value in values],
                name=name,
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate=f"%{{x}}<br>{name}: %{{y:.1f}} %<extra></extra>",
                row=2,
                col=1,
            )
    chart.update_xaxes(type="category", tickangle=-45 if len(groups) > 4 else 0)
    dressed(chart, height=520)
    chart.update_yaxes({"title": {"text": "channels kept (%)", "standoff": 8}, "rangemode": "tozero"}, row=1, col=1)
    chart.update_yaxes({"title": {"text": "share (%)", "standoff": 8}}, row=2, col=1)
    return chart


def _name(line: TrialLine, metric: Metric) -> str:
    return f"trial {line.number} ({metric.text(line.metric or 0.0)})"
