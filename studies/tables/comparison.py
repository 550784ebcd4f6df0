"""Two trials, or two studies, side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ..database.answers import ANSWERS, unpacked
from ..database.trials import trial_of
from ..definition.reading import describe_differences
from ..statistics import SIGNIFICANCE, mcnemar, permuted
from .recipes import differences
from .study import StudyView
from .trials import TrialLine, trial_lines
from .widths import WidthRow, width_rows
from .words import count, difference_text, percent


class Row(NamedTuple):
    """A line of a comparison: what is compared, the one's and the other's."""

    what: str
    first: str
    second: str


class Compared(NamedTuple):
    """A comparison.

    Attributes:
        names: of the one and the other.
        said: what may be said of the two, in sentences.
        rows: what was measured, and what they have different.
        widths: group, channels of the one, of the other; of two trials of one study.
    """

    names: tuple[str, str]
    said: tuple[str, ...]
    rows: tuple[Row, ...]
    widths: tuple[Row, ...] = ()


def compare_trials(view: StudyView, first: int, second: int) -> Compared:
    """Two trials of a study: by their answers on the same validation examples, their cost, recipes and widths.

    Raises:
        StudyError: if there is no such trial, or both are the same.
    """
    if first == second:
        raise StudyError(f"trial {first} cannot be compared with itself; give two numbers")
    trials = trial_of(view.study, first), trial_of(view.study, second)
    lines = trial_lines(view)
    one, other = lines[first], lines[second]
    recipes = [view.recipe(trial) for trial in trials]
    told = []
    if recipes[0] is not None and recipes[1] is not None:
        told = [Row(*each) for each in differences(recipes[0], recipes[1])]
    return Compared(
        names=(f"trial {first}", f"trial {second}"),
        said=(*_told_apart(view, trials, one, other), *_spread(one, other)),
        rows=(*_measured(view, one, view, other), *told),
        widths=tuple(_widths(view, trials)),
    )


def compare_studies(first: StudyView, second: StudyView) -> Compared:
    """Two studies: their best trials, what they delivered, and what their definitions have different.

    Raises:
        StudyError: if both are the same.
    """
    if first.name == second.name:
        raise StudyError(f"study {first.name!r} cannot be compared with itself; give two names")
    bests = [next((line for line in trial_lines(view) if line.best), None) for view in (first, second)]
    rows = [Row("trials", *(count(len(view.trials), "trial") for view in (first, second)))]
    rows.append(Row("best trial", *("-" if best is None else str(best.number) for best in bests)))
    if bests[0] is not None and bests[1] is not None:
        rows += _measured(first, bests[0], second, bests[1])
    rows += _outcomes(first, second)
    if first.definition is not None and second.definition is not None:
        found = describe_differences(first.definition.fingerprint(), second.definition.fingerprint())
        rows += [Row(*each) for each in found if each[0] != "study.name"]
    return Compared(
        names=(first.name, second.name), said=(*_of_studies(first, second), *_spread(*bests)), rows=tuple(rows)
    )


def _told_apart(
    view: StudyView, trials: tuple[FrozenTrial, FrozenTrial], one: TrialLine, other: TrialLine
) -> list[str]:
    for line in (one, other):
        if line.state == "fail":
            return [f"trial {line.number} failed, so it has no {view.metric.name}"]
        if line.metric is None:
            return [f"trial {line.number} ({line.state}) has no {view.metric.name} yet"]
    assert one.metric is not None
    assert other.metric is not None
    difference = difference_text(view.metric, other.metric - one.metric)
    said = [f"trial {other.number} has {difference} beside trial {one.number} ({view.metric.name} on validation)"]
    answers = [trial.user_attrs.get(ANSWERS) for trial in trials]
    if None in answers:
        return [*said, "their answers were not kept, so nothing can be said of how sure that is"]
    scores = [unpacked(found) for found in answers if found is not None]
    if len(scores[0]) != len(scores[1]):
        return [*said, "they were judged on different examples, so nothing can be said of how sure that is"]
    right = scores[0].dtype == np.bool_
    p_value = mcnemar(scores[0], scores[1]) if right else permuted(scores[0].astype(float), scores[1].astype(float))
    test = "McNemar's exact test" if right else "a permutation test of pairs"
    verdict = "can be told apart" if p_value < SIGNIFICANCE else "cannot be told apart"
    return [
        *said,
        f"on {count(len(scores[0]), 'validation example')} they {verdict} (p = {p_value:.3f}, {test}; true only if the "
        f"two were chosen before looking)",
    ]


def _of_studies(first: StudyView, second: StudyView) -> list[str]:
    if first.metric.name != second.metric.name:
        return [f"they measure different things, {first.metric.name} and {second.metric.name}: only costs compare"]
    if (told := _other_data(first, second)) is not None:
        return [told]
    said = ["the best of more trials is luckier, and validation splits may differ: the test split decides"]
    sizes = {None if each is None else (each.macs, each.parameters) for each in (first.baseline, second.baseline)}
    if None not in sizes and len(sizes) > 1:
        said.append("their baselines are different networks: shares are of unlike wholes")
    if first.outcome is None or second.outcome is None:
        missing = [view.name for view in (first, second) if view.outcome is None]
        return [*said, f"{missing[0]} has exported nothing yet, so there is no test {first.metric.name} of it"]
    if first.outcome.examples != second.outcome.examples:
        return [*said, "their test splits differ, so the intervals below are all that can be said"]
    return said


def _other_data(first: StudyView, second: StudyView) -> str | None:
    """That two studies have different data, so that their metrics have nothing to say of each other."""
    if first.definition is None or second.definition is None:
        return None
    names = [view.definition.data.name for view in (first, second) if view.definition is not None]
    if names[0] == names[1]:
        return None
    return (
        f"they are on different data, {names[0]} and {names[1]}: their {first.metric.name} does not compare, only what "
        f"each keeps beside its own baseline"
    )


def _measured(first: StudyView, one: TrialLine, second: StudyView, other: TrialLine) -> list[Row]:
    pairs = ((first, one), (second, other))

    def row(what: str, name: str) -> Row:
        values = [getattr(line.row, name) for _, line in pairs]
        return Row(what, *("-" if value is None else percent(value) for value in values))

    metrics = [
        "-" if line.metric is None or line.state == "fail" else view.metric.text(line.metric) for view, line in pairs
    ]
    latency = row("latency", "latency_share")
    latency = latency._replace(first=latency.first + _unsure(one), second=latency.second + _unsure(other))
    return [
        Row("state", one.state, other.state),
        Row(f"{first.metric.name} (validation)", *metrics),
        row("MACs", "macs_share"),
        row("parameters", "parameters_share"),
        latency,
        Row("compute", *("-" if line.row.compute is None else f"{line.row.compute:.2f}" for _, line in pairs)),
        Row("seconds", *("-" if line.row.seconds is None else f"{line.row.seconds:.1f}" for _, line in pairs)),
        Row("recipe", *(line.recipe or "-" for _, line in pairs)),
    ]


def _unsure(line: TrialLine) -> str:
    return " ?" * bool(line.row.latency_unsure)


def _spread(*lines: TrialLine | None) -> list[str]:
    """What "?" means, where it stands."""
    if not any(line is not None and line.row.latency_unsure for line in lines):
        return []
    return ["?: a latency that is unsure, it spreads more than it differs from what it is compared with"]


def _outcomes(first: StudyView, second: StudyView) -> list[Row]:
    def told(view: StudyView) -> str:
        found = view.outcome
        if found is None:
            return "-"
        interval = found.network.interval
        text = view.metric.text(found.network.value)
        if interval is not None:
            text += f" ({view.metric.interval_text(*interval)})"
        return f"{text}, {found.examples} examples"

    return [Row(f"delivered, {first.metric.name} (test)", told(first), told(second))]


def _widths(view: StudyView, trials: tuple[FrozenTrial, FrozenTrial]) -> list[Row]:
    one, other = ({row.group: row for row in width_rows(view, trial)} for trial in trials)

    def text(rows: dict[str, WidthRow], name: str) -> str:
        row = rows.get(name)
        return "-" if row is None else str(row.width) if row.full is None else f"{row.width} of {row.full}"

    return [Row(name, text(one, name), text(other, name)) for name in {**one, **other}]
