"""The table of importances: how much of what trials came to goes back to each parameter that was proposed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from .study import StudyView
from .trials import TrialLine

Evaluator = Literal["ped-anova", "fanova"]
# Of fewer trials nothing is said.
LEAST_TRIALS = 10


class Importance(NamedTuple):
    """A parameter; its importance is a share of all parameters' together, over the `trials` that proposed it."""

    parameter: str
    importance: float
    trials: int


def importances(view: StudyView, lines: Sequence[TrialLine], evaluator: Evaluator = "ped-anova") -> list[Importance]:
    """The parameters that were proposed in at least `LEAST_TRIALS` measured trials, the most important first.

    Args:
        view: of the study.
        lines: its trials.
        evaluator: "ped-anova" (Watanabe et al., 2023): by how far the best trials' values are spread otherwise than all
            trials'; a parameter that only some trials have, such as a schedule's own, is judged on those. "fanova"
            (Hutter et al., 2014): by the variance that a random forest explains, of parameters that all trials have.
    """
    values = {line.number: line.metric for line in lines if line.measured and line.metric is not None}
    trials = [trial for trial in view.trials if trial.number in values and trial.state == TrialState.COMPLETE]
    names = [name for name in dict.fromkeys(name for trial in trials for name in trial.params) if _varies(name, trials)]
    alone = {name: [trial for trial in trials if name in trial.params] for name in names}
    if evaluator == "fanova":
        common = [name for name in names if len(alone[name]) == len(trials)]
        judged = _judged(FanovaImportanceEvaluator(seed=0), common, trials, values, view)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            judge = PedAnovaImportanceEvaluator()
        judged = {name: _judged(judge, [name], having, values, view)[name] for name, having in alone.items()}
    total = sum(judged.values()) or 1.0
    found = [Importance(name, value / total, len(alone[name])) for name, value in judged.items()]
    return sorted(found, key=lambda each: -each.importance)


def _varies(name: str, trials: Sequence[FrozenTrial]) -> bool:
    """Whether enough trials have a parameter, and not all of them the same value."""
    having = [str(trial.params[name]) for trial in trials if name in trial.params]
    return len(having) >= LEAST_TRIALS and len(set(having)) > 1


def _judged(
    judge: BaseImportanceEvaluator,
    names: Sequence[str],
    trials: Sequence[FrozenTrial],
    values: dict[int, float],
    view: StudyView,
) -> dict[str, float]:
    """Parameters' importances in a study in memory that has them alone; 0 where nothing can be told."""
    if not names:
        return {}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of each study in memory
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
    study.add_trials(
        [
            create_trial(
                params={name: trial.params[name] for name in names},
                distributions={name: trial.distributions[name] for name in names},
                value=view.metric.quality(values[trial.number]),
            )
            for trial in trials
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = judge.evaluate(study, params=list(names))
        except (ValueError, RuntimeError):  # all trials alike, or a dimension that never varied
            return dict.fromkeys(names, 0.0)
    return {name: max(0.0, found[name]) for name in names}
