"""The table of trials: what each tried, what came of it, and what may be said of that."""

from __future__ import annotations

from operator import le
from typing import Any, NamedTuple

from ..database.retries import KNOWN
from ..database.rows import TrialRow, trial_rows
from ..database.rungs import rung_of, source_of
from ..database.trials import measurement_of, meets_budget
from .recipes import recipe_line
from .study import StudyView
from .words import count

# States that a word alone does not tell.
STATES = {
    "complete": "ran to the end",
    "pruned": "stopped early",
    "rung": "a shorter trial, whose recipe goes on where it is among the best",
    "fail": "failed, or was interrupted and is tried again under another number",
    "waiting": "queued, and tried if the study is to have more trials",
    "running": "until its process has given no heartbeat for 75 s",
}


class TrialLine(NamedTuple):
    """A trial; None is not known (yet).

    Attributes:
        row: what was measured.
        recipe: in a line.
        macs: of its network.
        parameters: likewise.
        latency: milliseconds of one example.
        reason: why it failed or was stopped, as far as it is known.
        known: the known recipe that it is, "" of any other.
        rung: "rung 1 of 3" of a shorter trial, which is never the best; "" of a whole one.
        went_on: the number of the trial of the next rung with its recipe.
        within: whether it meets the budget; None where it was not measured, or is a shorter trial.
        best: whether it is the best within the budget.
        front: whether no other trial within the budget is at least as good in all that counts, and better in one.
        like_best: whether the validation examples cannot tell it from the best; None where they were not asked.
        p_value: of that, corrected.
        said: what may be said of its metric.
    """

    row: TrialRow
    recipe: str | None
    macs: int | None
    parameters: int | None
    latency: float | None
    reason: str
    known: str
    rung: str
    went_on: int | None
    within: bool | None
    best: bool
    front: bool
    like_best: bool | None
    p_value: float | None
    said: str

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.row.number

    @property
    def state(self) -> str:
        """The trial's state, in lower case."""
        return self.row.state

    @property
    def came_to(self) -> str:
        """The state in a word; of a shorter trial that came to its end, its rung."""
        return self.rung if self.rung and self.macs is not None else self.state

    @property
    def meaning(self) -> str:
        """What that says of the trial."""
        return STATES["rung"] if self.came_to == self.rung else STATES.get(self.state, self.state)

    @property
    def metric(self) -> float | None:
        """At α = 0 on the validation split."""
        return self.row.metric

    @property
    def measured(self) -> bool:
        """Whether its network was folded and measured, at the end of a whole trial."""
        return self.macs is not None and not self.rung

    def values(self, metric: str) -> dict[str, Any]:
        """All of it in JSON types, flat.

        Args:
            metric: the name of the study's metric.
        """
        own = {name: value for name, value in self._asdict().items() if name != "row"}
        return {**self.row._asdict(), "metric_name": metric, **own}


def trial_lines(view: StudyView) -> list[TrialLine]:
    """A line for each trial, by number."""
    rows, comparison = trial_rows(view.study), view.comparison
    measured = {trial.number: measurement_of(trial) for trial in view.trials}
    within = {
        number: None if found is None or view.definition is None else meets_budget(found, view.definition)
        for number, found in measured.items()
    }
    complete = [row for row in rows if row.state == "complete" and row.metric is not None and within[row.number]]
    front = front_of(complete, view)
    best = best_of(complete, view)
    went_on = {source: trial.number for trial in view.trials if (source := source_of(trial)) is not None}
    lines = []
    for trial, row in zip(view.trials, rows, strict=True):
        found, recipe = measured[row.number], view.recipe(trial)
        like = None if comparison is None else comparison.is_like_the_best(row.number)
        line = TrialLine(
            row=row,
            recipe=None if recipe is None else recipe_line(recipe),
            macs=None if found is None else found.macs,
            parameters=None if found is None else found.parameters,
            latency=None if found is None else found.latency,
            reason=str(trial.user_attrs.get("note", "")),
            known=str(trial.user_attrs.get(KNOWN, "")),
            rung="" if rung_of(trial).is_whole else rung_of(trial).text,
            went_on=went_on.get(row.number),
            within=within[row.number] if rung_of(trial).is_whole else None,
            best=row.number == best,
            front=row.number in front,
            like_best=like,
            p_value=None if comparison is None else comparison.p_values.get(row.number),
            said="",
        )
        lines.append(line._replace(said=_said(line, view, len(complete))))
    return lines


def best_of(rows: list[TrialRow], view: StudyView) -> int | None:
    """The number of the best of some measured trials; of equal ones the cheapest."""
    quality = view.metric.quality
    ranked = sorted(rows, key=lambda row: (-quality(row.metric or 0.0), row.macs_share or 0.0, row.number))
    return ranked[0].number if ranked else None


def front_of(rows: list[TrialRow], view: StudyView) -> set[int]:
    """The numbers of the measured trials that no other is at least as good as in all that counts, and better in one.

    What counts are the study's objectives; with one alone the metric and the MACs, to a percent point: a budget makes
    them equal but for whole channels.
    """
    costs = [f"{name}_share" for name in view.objectives if name in ("macs", "parameters", "latency")]

    def point(row: TrialRow) -> tuple[float, ...]:
        quality = view.metric.quality(row.metric or 0.0)
        if not costs:
            return (-quality, round(100 * (row.macs_share or 0.0)))
        return (-quality, *(getattr(row, cost) for cost in costs))

    found: list[tuple[int, tuple[float, ...]]] = []
    for number, place in sorted(((row.number, point(row)) for row in rows), key=lambda pair: (pair[1], pair[0])):
        # Sorted by the metric first: only what came before can be at least as good in all.
        if not any(other != place and all(map(le, other, place)) for _, other in found):
            found.append((number, place))
    return {number for number, _ in found}


def _said(line: TrialLine, view: StudyView, compared: int) -> str:
    """What may be said of a trial's metric."""
    examples = "" if view.baseline is None else f" on {view.baseline.examples} validation examples"
    if line.came_to == line.rung:
        further = "" if line.went_on is None else f", and went on as trial {line.went_on}"
        return f"a shorter trial, {line.rung}{further}"
    if line.state == "pruned":
        return "stopped early: the last value at α = 0"
    if not line.measured:
        return "so far" if line.state == "running" and line.metric is not None else ""
    if line.within is False:
        return "over the budget"
    if len(view.objectives) > 1:
        return "on the front" if line.front else "another trial is at least as good in all objectives"
    if line.best:
        return f"best of {count(compared, 'trial')}{examples}, so too good by some luck"
    if line.like_best is None:
        return "not compared with the best"
    p_value = f"p = {line.p_value:.2f}"
    return f"cannot be told from the best ({p_value})" if line.like_best else f"behind the best ({p_value})"
