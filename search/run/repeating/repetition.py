"""A trial's recipe run again: to see how close it comes, or longer, for one good final network."""

import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ....errors import StudyError
from ....studies.database.retries import SEED
from ....studies.database.rungs import rung_of
from ....studies.database.storage import stored_definition
from ....studies.database.trials import finished_trials, history_of, metric_value, trial_of
from ....studies.metric import Metric
from ...events import Listener
from ...trial.problem import Problem
from ...trial.trial import Report, run_trial
from ..recording import as_event, versions
from ..rungs import at_rung
from .runs import LENGTH, Runs, kept_baseline, open_refined, recipe_of, with_length


class Again(NamedTuple):
    """How close a repeated trial came.

    Attributes:
        before: the metric at α = 0 at the milestones, as the study has them.
        after: the same of the repetition, as far as the trial came.
        versions_before: of the packages then.
        versions_after: and now.
        examples: of the validation split.
        metric: what the study measures.
    """

    before: list[float]
    after: list[float]
    versions_before: dict[str, str]
    versions_after: dict[str, str]
    examples: int
    metric: Metric

    @property
    def difference(self) -> float:
        """The largest difference of the metric at any milestone."""
        return max((abs(a - b) for a, b in zip(self.before, self.after, strict=False)), default=0.0)


@dataclass(frozen=True)
class Refinement:
    """What became of a trial whose recipe was trained longer.

    Attributes:
        study: name of the study.
        source: its trial.
        runs: of the recipe, in the order of their seeds.
        trials: how many the study has finished.
        examples: of the validation split.
        metric: what the study measures.
    """

    study: str
    source: FrozenTrial
    runs: list[FrozenTrial]
    trials: int
    examples: int
    metric: Metric

    @property
    def complete(self) -> list[FrozenTrial]:
        """The runs that did not diverge."""
        return [run for run in self.runs if run.state == TrialState.COMPLETE]

    @property
    def mean(self) -> float:
        """The runs' mean metric on the validation split; NaN if all diverged."""
        values = [value for run in self.complete if (value := metric_value(run)) is not None]
        return statistics.mean(values) if values else math.nan

    @property
    def is_better(self) -> bool:
        """Whether the runs' mean is better than the trial's metric; any is, where that was stopped early."""
        then = metric_value(self.source)
        return then is None or self.metric.quality(self.mean) > self.metric.quality(then)


class _StoppedThere(Exception):  # noqa: N818  not an error: the trial was stopped early, and so is its repetition
    pass


def repeat_trial(
    study: optuna.Study,
    storage: RDBStorage,
    number: int,
    *,
    data_root: str | None,
    device: str | None = None,
    notify: Listener,
) -> Again:
    """Repeats a trial with its recipe and seed, as far as it came; nothing is recorded.

    Args:
        study: the study.
        storage: its database.
        number: of the trial.
        data_root: folder of the data, if it is another than the definition's.
        device: where to train, if not as the definition says.
        notify: receives the progress.

    Raises:
        StudyError: if the study has no such trial, or the trial had no recipe yet.
    """
    trial = trial_of(study, number)
    recipe = recipe_of(study, trial)
    before = [entry["folded_metric"] for entry in history_of(trial)]
    if not before:
        raise StudyError(f"trial {number} of {study.study_name!r} reported nothing that could be compared")
    after: list[float] = []
    problem = _task(study, data_root, device)
    if LENGTH in trial.user_attrs:
        problem = with_length(problem, trial.user_attrs[LENGTH])
    problem = at_rung(problem, rung_of(trial))

    def on_report(report: Report) -> None:
        after.append(report.folded_metric)
        notify(as_event(number, problem.definition, report))
        if len(after) == len(before) and trial.state != TrialState.COMPLETE:
            raise _StoppedThere

    with kept_baseline(study, storage, problem, notify) as (baseline, problem), suppress(_StoppedThere):
        run_trial(recipe, baseline, problem, seed=trial.user_attrs[SEED], on_report=on_report)
    then, examples = trial.user_attrs.get("versions", {}), len(problem.data.validation)
    return Again(before, after, then, versions(), examples, problem.task.metric)


def refine_trial(
    study: optuna.Study,
    storage: RDBStorage,
    number: int,
    *,
    length: dict[str, Any],
    seeds: Sequence[int],
    data_root: str | None,
    device: str | None = None,
    notify: Listener,
) -> tuple[optuna.Study, Refinement]:
    """Trains a trial's recipe for another length, once for each seed; results lie in the study NAME-refined.

    What is there already of this length and seed is not run again.

    Args:
        study: the study.
        storage: its database.
        number: of the trial.
        length: `{"epochs": E}` or `{"compute": C}`.
        seeds: one run each; none means the trial's own.
        data_root: folder of the data, if it is another than the definition's.
        device: where to train, if not as the definition says.
        notify: receives the progress.

    Returns:
        The companion study, and what became of the trial.

    Raises:
        StudyError: if the study has no such trial, or the trial had no recipe yet.
    """
    source = trial_of(study, number)
    recipe_of(study, source)
    refined = open_refined(storage, study, notify)
    problem = with_length(_task(refined, data_root, device), length)
    with kept_baseline(study, storage, problem, notify) as (baseline, problem):
        runs = Runs(refined, storage, problem, baseline)
        found = [runs.run(source, seed, notify) for seed in seeds or [source.user_attrs[SEED]]]
    finished, examples = len(finished_trials(study)), len(problem.data.validation)
    return refined, Refinement(study.study_name, source, found, finished, examples, problem.task.metric)


def _task(study: optuna.Study, data_root: str | None, device: str | None) -> Problem:
    definition = stored_definition(study)
    definition = definition if device is None else definition.with_device(device)
    return Problem.of(definition if data_root is None else definition.with_data_root(data_root))
