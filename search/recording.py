"""A trial as Optuna keeps it: its recipe, its reports, what was measured, and whether another trial was the same."""

import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ..studies.artifacts import artifact_store, attach_network
from ..studies.definition import Definition
from ..studies.trials import SHAPE, finished_trials, measurement_of, record_measurement, set_constraints
from .events import Listener, TrialReport
from .space import Recipe
from .task import Task
from .trial import Report, TrialResult, save_result

RECIPE = "recipe"
SEED = "seed"
HISTORY = "history"
REPEATED = "same_as"
_VERSIONS = ("branchfold", "torch", "pytorch-lightning", "optuna")


def record_recipe(trial: optuna.Trial, recipe: Recipe, seed: int) -> None:
    """Keeps everything that decides the trial, beside the study's definition."""
    trial.set_user_attr(RECIPE, recipe.to_dict())
    trial.set_user_attr(SHAPE, recipe.shape)
    trial.set_user_attr(SEED, seed)
    trial.set_user_attr("versions", versions())


def versions() -> dict[str, str]:
    """Of Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}


def keep_result(trial: optuna.Trial, recipe: Recipe, result: TrialResult, task: Task, storage: RDBStorage) -> None:
    """Keeps the network and what was measured of it; the measurement last, because it marks the trial as measured.

    Raises:
        StudyError: if the network cannot be kept.
    """
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        path = save_result(result, recipe, task, trial.number, Path(folder))
        attach_network(trial, storage, artifact_store(storage.url), path)
    trial.set_user_attr("folding_error", result.folding_error)
    trial.set_user_attr("compute", result.compute)
    set_constraints(trial, result.measurement, task.definition)
    record_measurement(trial, result.measurement)


def as_event(number: int, definition: Definition, report: Report) -> TrialReport:
    """A report of a trial as progress shows it."""
    return TrialReport(
        trial=number,
        unit="report" if definition.trial.epochs is None else "epoch",
        number=report.number,
        total=definition.trial.reports,
        compute=report.compute,
        alpha=report.alpha,
        accuracy=report.accuracy,
        folded_accuracy=report.folded_accuracy,
    )


class Recorder:
    """Hears a trial's reports: into the database, to the listener, and to Optuna's pruner, which may end the trial.

    Args:
        trial: Optuna's.
        definition: of the study.
        tell: receives the progress.
    """

    def __init__(self, trial: optuna.Trial, definition: Definition, tell: Listener) -> None:
        self.trial, self.definition, self.tell = trial, definition, tell
        self.history: list[dict[str, Any]] = []

    def __call__(self, report: Report) -> None:
        self.history.append(report.to_dict())
        self.trial.set_user_attr(HISTORY, self.history)
        self.tell(as_event(self.trial.number, self.definition, report))
        if len(self.definition.study.objectives) == 1:
            self.trial.report(report.folded_accuracy, report.number)
            if report.number < self.definition.trial.reports and self.trial.should_prune():
                raise optuna.TrialPruned


def same_trial(study: optuna.Study, recipe: Recipe) -> FrozenTrial | None:
    """A finished trial of the same recipe, if there is one; seeds do not count."""
    wanted = json.dumps(recipe.to_dict(), sort_keys=True)
    return next(
        (t for t in finished_trials(study) if json.dumps(t.user_attrs.get(RECIPE), sort_keys=True) == wanted), None
    )


def repeat_result(trial: optuna.Trial, other: FrozenTrial, definition: Definition) -> tuple[float, ...]:
    """Gives a trial the results of the finished one that is the same.

    Raises:
        optuna.TrialPruned: if that one was stopped early.
    """
    for key, value in other.user_attrs.items():
        trial.set_user_attr(key, value)
    trial.set_user_attr(REPEATED, other.number)
    if (measurement := measurement_of(other)) is not None:
        set_constraints(trial, measurement, definition)
    for number, value in other.intermediate_values.items():
        trial.report(value, number)
    if other.state == TrialState.PRUNED:
        raise optuna.TrialPruned(f"same as trial {other.number}")
    return tuple(other.values)
