"""A study as it stood at one moment: read once, behind every table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ..database.answers import Comparison, compare_with_best
from ..database.artifacts import BASELINE
from ..database.companions import REFINED, SCREENING, find_companion
from ..database.findings.groups import GroupRecord, groups_of
from ..database.findings.outcome import Outcome, outcome_of
from ..database.optuna_internals import storage_of
from ..database.rows import TrialRow, trial_rows
from ..database.storage import stored_definition
from ..database.tables.names import TAUGHT_COMPUTE
from ..database.trials import RECIPE, metric_of, with_metric
from ..definition.reading import Definition
from ..metric import Metric


class Span(NamedTuple):
    """A stage of a trial: the groups that fade together, and when, in shares of the trial."""

    groups: tuple[str, ...]
    start: float
    end: float


class Course(NamedTuple):
    """How a recipe lets α fall.

    Attributes:
        stages: one after another.
        points: progress of the trial, 0 … 1, and the mean α of its groups there; empty where α follows from losses
            that are met on the way.
    """

    stages: tuple[Span, ...]
    points: tuple[tuple[float, float], ...]


# The course of a recipe in JSON types; what a schedule does is not known here. None for another version's recipe.
CourseOf = Callable[[Mapping[str, Any]], Course | None]


class Baseline(NamedTuple):
    """What is known of a study's baseline; the metric is that on the `examples` of the validation split.

    `taught` is the compute, in epochs of its training, that its outputs for the training images took, which trials
    learn from; 0 where none do.
    """

    metric: float
    interval: tuple[float, float] | None
    examples: int
    macs: int
    parameters: int
    source: str
    taught: float = 0.0


@dataclass(frozen=True)
class StudyView:
    """A study, read once; what takes long is made when it is asked for.

    Attributes:
        study: Optuna's.
        course_of: tells how a recipe lets α fall.
    """

    study: optuna.Study
    course_of: CourseOf

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    @cached_property
    def definition(self) -> Definition | None:
        """The study's definition; None for a study of another version."""
        try:
            return stored_definition(self.study)
        except StudyError:
            return None

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self.study.get_trials(deepcopy=False)

    @cached_property
    def metric(self) -> Metric:
        """What the study measures."""
        return metric_of(self.study)

    @cached_property
    def baseline(self) -> Baseline | None:
        """The network that trials are measured against; None if there is none yet."""
        return baseline_of(self.study)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Which trials can be told from the best one; None where that is not known."""
        return compare_with_best(self.study)

    @cached_property
    def groups(self) -> dict[str, GroupRecord]:
        """The network's groups that can be narrowed, by name; empty where a study did not keep them."""
        return groups_of(self.study)

    @cached_property
    def outcome(self) -> Outcome | None:
        """What the study delivered last, on the test split; None before."""
        return outcome_of(self.study)

    @cached_property
    def refined(self) -> list[TrialRow]:
        """The trials that were trained again, as finalists or longer."""
        found = find_companion(storage_of(self.study), self.study, REFINED)
        return [] if found is None else trial_rows(found)

    @cached_property
    def screened(self) -> list[FrozenTrial]:
        """The widths that were judged untrained."""
        found = find_companion(storage_of(self.study), self.study, SCREENING)
        return [] if found is None else found.get_trials(deepcopy=False)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the study's objectives."""
        return ("accuracy",) if self.definition is None else self.definition.study.objectives

    def recipe(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """A trial's recipe in JSON types; None where it had none yet."""
        return trial.user_attrs.get(RECIPE)


def baseline_of(study: optuna.Study) -> Baseline | None:
    """What is known of a study's baseline, by whichever version; None if there is none yet."""
    record = study.user_attrs.get(BASELINE)
    if record is None:
        return None
    known, metric = with_metric(record), metric_of(study)
    value, examples = float(known["metric"]), int(known["examples"])
    interval = known["interval"] if "interval" in known else metric.interval(value, examples, None)
    return Baseline(
        metric=value,
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        examples=examples,
        macs=int(known["macs"]),
        parameters=int(known["parameters"]),
        source=str(known.get("source", "")),
        taught=float(known.get(TAUGHT_COMPUTE, 0.0)),
    )
