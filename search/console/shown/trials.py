"""A study's trials as a table for the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import optuna
from rich.table import Table

from ....studies.database.companions import is_screening
from ....studies.database.rows import TrialRow
from ....studies.metric import Metric
from ....studies.statistics import SIGNIFICANCE
from ....studies.tables.screening import widths_of
from ....studies.tables.study import StudyView
from ....studies.tables.trials import STATES, TrialLine, trial_lines
from ....studies.tables.words import percent, with_interval
from ...run.screening.screening import ranked

# Marks in the table of trials.
LIKE_BEST = "≈"
FRONT = "◆"
UNSURE = "?"
# States whose word tells enough.
_PLAIN_STATES = {"complete"}
# Left out one after another where a terminal is too narrow for them.
_DISPENSABLE = ("seconds", "compute", "parameters", "latency", "schedule")


class _Column(NamedTuple):
    title: str
    right: bool
    texts: list[str]

    @property
    def width(self) -> int:
        """Characters, with the border and the space on both sides."""
        return max(map(len, [self.title, *self.texts])) + 3


def trials_values(view: StudyView, lines: Sequence[TrialLine] | None = None) -> list[dict[str, Any]]:
    """One dictionary a trial; of a screening, its candidates with the best first.

    Args:
        view: of the study.
        lines: the trials that are shown; all if not given.
    """
    if is_screening(view.study):
        return [{"number": t.number, "loss": t.value, "widths": widths_of(t)} for t in ranked(view.study)]
    return [line.values(view.metric.name) for line in (trial_lines(view) if lines is None else lines)]


def trials_csv(view: StudyView, lines: Sequence[TrialLine] | None = None) -> str:
    """The same as CSV with a header, also where there is no trial; what holds several values is JSON in a field."""
    values = trials_values(view, lines)
    screened = ["number", "loss", "widths"]
    header = list(values[0]) if values else screened if is_screening(view.study) else _columns()
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    for row in values:
        writer.writerow({k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()})
    return out.getvalue()


def trials_table(view: StudyView, lines: Sequence[TrialLine] | None = None, *, width: int = 160) -> Table:
    """A study's trials; the metric is that on the validation split, at α = 0.

    Args:
        view: of the study.
        lines: the trials that are shown; all if not given.
        width: of the terminal: what does not fit is left out, the least needed first.
    """
    if is_screening(view.study):
        return _candidates_table(view.study)
    lines = trial_lines(view) if lines is None else lines
    columns = _fitting(_all_columns(view, lines), width)
    left_out = [] if len(columns) == 10 else ["a wider terminal, --json or --csv shows more columns"]
    table = Table(
        title=f"study {view.name}",
        caption="\n".join([*_caption(view, lines), *left_out]),
        title_justify="left",
        caption_justify="left",
    )
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left")
    for row, line in enumerate(lines):
        style = "bold" if line.best else "dim" if line.state in ("pruned", "fail") else None
        table.add_row(*(column.texts[row] for column in columns), style=style)
    return table


def _all_columns(view: StudyView, lines: Sequence[TrialLine]) -> list[_Column]:
    metric, rows = view.metric, [line.row for line in lines]
    several, compared = len(view.objectives) > 1, view.comparison is not None
    front = _has_front(view, lines)
    return [
        _Column("trial", True, [str(row.number) for row in rows]),
        _Column("state", False, [line.came_to for line in lines]),
        _Column(metric.name, True, [_value(row, metric) for row in rows]),
        _Column("", False, [_mark(line, front=front, several=several, compared=compared) for line in lines]),
        _Column("MACs", True, [_or_dash(row.macs_share) for row in rows]),
        _Column("parameters", True, [_or_dash(row.parameters_share) for row in rows]),
        _Column("latency", True, [_latency(row) for row in rows]),
        _Column("schedule", False, [row.shape or "-" for row in rows]),
        _Column("compute", True, ["-" if row.compute is None else f"{row.compute:.2f}" for row in rows]),
        _Column("seconds", True, ["-" if row.seconds is None else f"{row.seconds:.1f}" for row in rows]),
    ]


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    for name in _DISPENSABLE:
        if sum(column.width for column in columns) + 1 <= width:
            break
        columns = [column for column in columns if column.title != name]
    return columns


def _candidates_table(study: optuna.Study) -> Table:
    caption = "validation loss of the initialised, folded network, untrained; the best first"
    table = Table(title=f"study {study.study_name}", caption=caption, title_justify="left", caption_justify="left")
    table.add_column("candidate", justify="right")
    table.add_column("loss", justify="right")
    table.add_column("channels that stay", overflow="fold")
    for trial in ranked(study):
        widths = ", ".join(f"{name} {width}" for name, width in widths_of(trial).items())
        table.add_row(str(trial.number), f"{trial.value:.4f}", widths)
    return table


def _value(row: TrialRow, metric: Metric) -> str:
    """The metric; what a trial that was interrupted reported last is no result."""
    return "-" if row.metric is None or row.state == "fail" else metric.text(row.metric)


def _or_dash(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _has_front(view: StudyView, lines: Sequence[TrialLine]) -> bool:
    """Whether the front is more than the best trial."""
    return any(line.front and (len(view.objectives) > 1 or not line.best) for line in lines)


def _mark(line: TrialLine, *, front: bool, several: bool, compared: bool) -> str:
    """The best, those like it, and those on the front, where that is more than the best."""
    mark = FRONT * (front and line.front)
    if several or not compared:
        return mark
    if line.best:
        return f"best {mark}".rstrip()
    return f"{LIKE_BEST * bool(line.like_best)}{mark}"


def _latency(row: TrialRow) -> str:
    spread = "" if row.latency_spread is None else f" ({100 * row.latency_spread:.1f})"
    return f"{_or_dash(row.latency_share)}{spread}{f' {UNSURE}' * bool(row.latency_unsure)}"


def _caption(view: StudyView, lines: Sequence[TrialLine]) -> list[str]:
    metric, comparison, baseline = view.metric, view.comparison, view.baseline
    if baseline is None:
        return [f"{metric.name} at α = 0 on the validation split; no baseline yet"]
    told = [
        f"{metric.name} at α = 0 on the {baseline.examples} validation examples; compute in epochs of the baseline's "
        f"training; baseline {with_interval(metric, baseline.metric, baseline.interval)}, {baseline.macs:,} MACs, "
        f"{baseline.parameters:,} parameters"
    ]
    if baseline.taught:
        told.append(
            f"not in any trial's compute: {baseline.taught:.2f} epochs, once, for the baseline's outputs that trials "
            "learn from"
        )
    if comparison is not None and comparison.p_values:
        told.append(
            f"{LIKE_BEST}: these examples cannot tell it from the best, trial {comparison.best} ({comparison.test}, "
            f"p ≥ {SIGNIFICANCE:.2f} by Holm's correction for {len(comparison.p_values)} trials)"
        )
    if _has_front(view, lines):
        costs = [name for name in view.objectives if name in ("macs", "parameters", "latency")] or ["MACs (to a point)"]
        counts = " and ".join([metric.name, *costs])
        told.append(f"{FRONT}: on the front, no other is at least as good in {counts} and better in one of them")
    if any(line.row.latency_spread is not None for line in lines):
        text = "latency: median share of the baseline's (interquartile range in points), one example on one thread"
        unsure = f"; {UNSURE}: unsure, it spreads more than it differs from what it is compared with"
        told.append(text + unsure * any(line.row.latency_unsure for line in lines))
    states = {"rung" if line.came_to == line.rung else line.state for line in lines} - _PLAIN_STATES
    told += [f"{state}: {meaning}" for state, meaning in STATES.items() if state in states]
    told += [f"trial {line.number}: {line.reason}" for line in lines if line.state == "fail" and line.reason]
    return told


def _columns() -> list[str]:
    own = [name for name in TrialLine._fields if name != "row"]
    return [*TrialRow._fields, "metric_name", *own]
