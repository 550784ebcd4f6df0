"""Which trials are shown, and in which order: `--where`, `--sort` and `--top`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import StudyError, nearest
from ..metric import Metric
from .trials import TrialLine

# What conditions and orders may name, and where it lies in a trial's values; costs are shares of the baseline's.
COLUMNS = {
    "trial": "number",
    "state": "state",
    "metric": "metric",
    "macs": "macs_share",
    "parameters": "parameters_share",
    "latency": "latency_share",
    "schedule": "shape",
    "compute": "compute",
    "seconds": "seconds",
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([\w-]+)\s*(<=|>=|!=|==|<|>|=)\s*(.+?)\s*")


def selected(
    lines: Sequence[TrialLine],
    metric: Metric,
    *,
    where: Sequence[str] = (),
    sort: str | None = None,
    top: int | None = None,
) -> list[TrialLine]:
    """The trials that meet all conditions, in order; without one by number, the best first where only some are wanted.

    Args:
        lines: of the study.
        metric: that it measures; its name stands for `metric`.
        where: conditions, "macs<0.2", "accuracy >= 97 %", "state=complete".
        sort: a column; "-" before it turns the order around. A trial that lacks the value comes last.
        top: how many of them.

    Raises:
        StudyError: if a condition or a column is not understood.
    """
    found = list(lines)
    for condition in where:
        found = [line for line in found if _meets(line, _parsed(condition, metric))]
    if sort is None and top is not None:
        sort = "metric"
    if sort is not None:
        found = _sorted(found, sort, metric)
    return found[:top]


def _sorted(lines: list[TrialLine], sort: str, metric: Metric) -> list[TrialLine]:
    column = _column(sort.removeprefix("-"), metric, "--sort")
    best_first = column == "metric" and metric.higher_is_better
    having = [line for line in lines if _value(line, column) is not None]
    ordered = sorted(having, key=lambda line: _value(line, column), reverse=sort.startswith("-") != best_first)
    return [*ordered, *(line for line in lines if _value(line, column) is None)]


def _parsed(condition: str, metric: Metric) -> tuple[str, Callable[[Any, Any], bool], Any]:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise StudyError(
            f"--where {condition!r}: must be a column, one of < <= > >= = != and a value, for example 'macs<0.2'"
        )
    column = _column(match[1], metric, "--where")
    compare = _OPERATORS[match[2].replace("==", "=")]
    if column in ("state", "shape"):
        return column, compare, match[3]
    number, share = match[3].removesuffix("%").strip(), match[3].endswith("%")
    try:
        return column, compare, float(number) / (100 if share else 1)
    except ValueError:
        raise StudyError(f"--where {condition!r}: {match[3]!r} is no number; {match[1]} needs one, or 12 %") from None


def _column(name: str, metric: Metric, option: str) -> str:
    known = [*COLUMNS, metric.name]
    if name not in known:
        raise StudyError(f"{option}: no column {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return COLUMNS.get(name, "metric")


def _meets(line: TrialLine, condition: tuple[str, Callable[[Any, Any], bool], Any]) -> bool:
    column, compare, wanted = condition
    value = _value(line, column)
    return value is not None and compare(value, wanted)


def _value(line: TrialLine, column: str) -> Any:
    return getattr(line.row, column)
