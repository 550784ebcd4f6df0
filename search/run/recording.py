"""A trial as Optuna keeps it: its recipe, its reports, what was measured, and whether another trial was the same."""

import json
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ...errors import StudyError
from ...studies.database.answers import ANSWERS, packed
from ...studies.database.optuna_internals import add_milestone, set_user_attrs
from ...studies.database.places.addresses import DATABASE_ERRORS
from ...studies.database.places.artifacts import upload_network
from ...studies.database.places.store import artifact_store
from ...studies.database.retries import SEED, release_interrupted
from ...studies.database.rungs import OWN, Rung, rung_of, whole, worth
from ...studies.database.tables.names import FULL_WIDTHS
from ...studies.database.trials import (
    HISTORY,
    RECIPE,
    best_trial,
    finished_trials,
    measurement_of,
    metric_value,
    set_constraints,
)
from ...studies.definition.reading import Definition
from ..events import Best, Listener, TrialEnded, TrialReport
from ..process.signals import last_words
from ..space import Recipe
from ..trial.problem import Problem
from ..trial.trial import Report, TrialResult, save_result

REPEATED = "same_as"
_VERSIONS = ("branchfold", "torch", "pytorch-lightning", "optuna")


def record_recipe(trial: optuna.Trial, recipe: Recipe, seed: int, problem: Problem, **more: Any) -> None:
    """Keeps everything that decides the trial, beside the study's definition, and `more` of it."""
    full = {FULL_WIDTHS: {group.name: group.width for group in problem.costs.groups}}
    set_user_attrs(trial, {RECIPE: recipe.to_dict(), SEED: seed, "versions": versions(), **full, **more})


def versions() -> dict[str, str]:
    """Of Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}


def keep_result(
    trial: optuna.Trial, recipe: Recipe, result: TrialResult, problem: Problem, storage: RDBStorage
) -> None:
    """Keeps the network's file, and then at once its record and what was measured of it, which marks it as measured.

    Of a trial of a lower rung, which is never delivered, only what was measured is kept.

    Raises:
        StudyError: if the network cannot be kept.
    """
    kept: dict[str, Any] = {}
    if rung_of(trial).is_whole:
        with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
            path = save_result(result, recipe, problem, trial.number, Path(folder))
            kept = upload_network(trial, storage, artifact_store(storage.url), path)
    set_constraints(trial, result.measurement, problem.definition)
    history = [report.to_dict() for report in result.reports]
    about: dict[str, Any] = {"folding_error": result.folding_error, "compute": result.compute, HISTORY: history}
    if result.scores is not None:
        about[ANSWERS] = packed(result.scores.numpy(), problem.task.metric)
    judged_on = {"split": "validation", "examples": len(problem.data.validation)}
    set_user_attrs(trial, {**kept, **about, **judged_on, **result.measurement._asdict()})


def as_event(number: int, definition: Definition, report: Report) -> TrialReport:
    """A report of a trial as progress shows it."""
    return TrialReport(
        trial=number,
        unit="report" if definition.trial.epochs is None else "epoch",
        number=report.number,
        total=definition.trial.reports,
        compute=report.compute,
        alpha=report.alpha,
        metric=report.metric,
        folded_metric=report.folded_metric,
        loss=report.loss,
        rate=report.rate,
    )


class Recorder:
    """Hears a trial's reports: to the database, to the listener, and to Optuna's pruner, which may end the trial.

    With several objectives Optuna's pruners hear nothing; and a trial of a lower rung, which the next one judges, they
    let be.

    Args:
        trial: Optuna's.
        definition: of the study, with the length of the trial.
        notify: receives the progress.
    """

    def __init__(self, trial: optuna.Trial, definition: Definition, notify: Listener) -> None:
        self.trial, self.definition, self.notify = trial, definition, notify
        self.history: list[dict[str, Any]] = []
        self._began = time.monotonic()

    def resume(self, reports: list[Report], seconds: list[float], elapsed: float) -> None:
        """Tells the database what a trial that goes on had reported under its earlier number.

        Args:
            reports: of the milestones so far.
            seconds: at which each was passed.
            elapsed: that the trial had taken when it was stopped.
        """
        self._began = time.monotonic() - elapsed
        for report, at in zip(reports, seconds, strict=True):
            self._keep(report, at)

    def __call__(self, report: Report) -> None:
        self._keep(report, time.monotonic() - self._began)
        self.notify(as_event(self.trial.number, self.definition, report))
        single, last = len(self.definition.study.objectives) == 1, self.definition.trial.reports
        judged = single and report.number < last and rung_of(self.trial).is_whole
        if judged and self.trial.should_prune():
            raise optuna.TrialPruned

    def _keep(self, report: Report, seconds: float) -> None:
        self.history.append(report.to_dict())
        add_milestone(self.trial, self.history[-1], seconds, shown=report.folded_metric)


@contextmanager
def releasing(study: optuna.Study) -> Iterator[list[int]]:
    """Ends the trials that are running when something is raised, and queues them again: none stays running.

    Gives a list for the numbers of the trials that begin.
    """
    begun: list[int] = []

    def release() -> None:
        for number in begun:
            # Where the database is what fails, the next process that opens it finds the trial.
            with suppress(*DATABASE_ERRORS):
                release_interrupted(study, number)

    try:
        with last_words(release):
            yield begun
    except BaseException:
        release()
        raise


def placed(ended: TrialEnded, study: optuna.Study, definition: Definition) -> TrialEnded:
    """A trial's end with what the database knows of the study by then, whichever processes run it."""
    end = study.get_trials(deepcopy=False)[ended.trial].datetime_complete
    before = [t for t in finished_trials(study) if t.datetime_complete and end and t.datetime_complete <= end]
    ended = ended._replace(finished=whole(worth(before)))
    try:
        best = best_of(study, definition)
    except StudyError:  # none within the budget yet
        return ended
    return ended._replace(best=best)


def best_of(study: optuna.Study, definition: Definition) -> Best:
    """The best trial so far.

    Raises:
        StudyError: if none has completed within the budget.
    """
    best = best_trial(study, definition)
    value = metric_value(best)
    assert value is not None, "what is ranked is measured"
    return Best(best.number, value)


def same_trial(study: optuna.Study, recipe: Recipe, rung: Rung) -> FrozenTrial | None:
    """A finished trial of the same recipe and rung, if there is one; seeds do not count."""
    wanted = json.loads(json.dumps(recipe.to_dict()))  # as it comes back from the database: tuples are lists there
    known = (trial for trial in finished_trials(study) if trial.user_attrs.get(RECIPE) == wanted)
    return next((trial for trial in known if rung_of(trial).share == rung.share), None)


def repeat_result(trial: optuna.Trial, other: FrozenTrial, definition: Definition) -> tuple[float, ...]:
    """Gives a trial the results of the finished one that is the same, and returns its values.

    Raises:
        optuna.TrialPruned: if that one was stopped early.
    """
    theirs = {key: value for key, value in other.user_attrs.items() if key not in OWN}
    set_user_attrs(trial, {**theirs, REPEATED: other.number})
    if (measurement := measurement_of(other)) is not None:
        set_constraints(trial, measurement, definition)
    for number, value in other.intermediate_values.items():
        trial.report(value, number)
    if other.state == TrialState.PRUNED:
        raise optuna.TrialPruned(f"same as trial {other.number}")
    return tuple(other.values)
