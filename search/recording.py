"""A trial as Optuna keeps it: its recipe, its reports, what was measured, and whether another trial was the same."""

import json
import platform
from importlib.metadata import version
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..studies.definition import Definition
from ..studies.trials import SHAPE, finished_trials, record_measurement
from .events import Listener, TrialReport
from .space import Recipe
from .trial import Report, TrialResult

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


def record_result(trial: optuna.Trial, result: TrialResult) -> None:
    """Keeps what was measured; the measurement last, because it marks the trial as measured."""
    trial.set_user_attr("folding_error", result.folding_error)
    trial.set_user_attr("compute", result.compute)
    record_measurement(trial, result.measurement)


class Recorder:
    """Hears a trial's reports: into the database, to the listener, and to Optuna's pruner, which may end the trial.

    Args:
        trial: Optuna's.
        definition: of the study.
        tell: receives the progress.
    """

    def __init__(self, trial: optuna.Trial, definition: Definition, tell: Listener) -> None:
        self.trial, self.tell = trial, tell
        self.prunes = len(definition.study.objectives) == 1
        self.unit = "report" if definition.trial.epochs is None else "epoch"
        self.total = definition.trial.reports
        self.history: list[dict[str, Any]] = []

    def __call__(self, report: Report) -> None:
        self.history.append(report.to_dict())
        self.trial.set_user_attr(HISTORY, self.history)
        self.tell(
            TrialReport(
                trial=self.trial.number,
                unit=self.unit,
                number=report.number,
                total=self.total,
                compute=report.compute,
                alpha=report.alpha,
                accuracy=report.accuracy,
                folded_accuracy=report.folded_accuracy,
            )
        )
        if self.prunes:
            self.trial.report(report.folded_accuracy, report.number)
            if report.number < self.total and self.trial.should_prune():
                raise optuna.TrialPruned


def same_trial(study: optuna.Study, recipe: Recipe) -> FrozenTrial | None:
    """A finished trial of the same recipe, if there is one; seeds do not count."""
    wanted = json.dumps(recipe.to_dict(), sort_keys=True)
    return next(
        (t for t in finished_trials(study) if json.dumps(t.user_attrs.get(RECIPE), sort_keys=True) == wanted), None
    )


def repeat_result(trial: optuna.Trial, other: FrozenTrial) -> tuple[float, ...]:
    """Gives a trial the results of the finished one that is the same.

    Raises:
        optuna.TrialPruned: if that one was stopped early.
    """
    for key, value in other.user_attrs.items():
        trial.set_user_attr(key, value)
    trial.set_user_attr(REPEATED, other.number)
    for number, value in other.intermediate_values.items():
        trial.report(value, number)
    if other.state == TrialState.PRUNED:
        raise optuna.TrialPruned(f"same as trial {other.number}")
    return tuple(other.values)
