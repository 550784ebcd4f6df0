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

    A parameter that only some trials have, such as a schedule's own, is judged on those alone.

    Args:
        view: of the study.
        lines: its trials.
        evaluator: "ped-anova" (Watanabe et al., 2023): by how far the best trials' values are spread otherwise than all
            trials'; "fanova" (Hutter et al., 2014): by the variance that a random forest explains.
    """
    values = {line.number: line.metric for line in lines if line.measured and line.metric is not None}
    trials = [trial for trial in view.trials if trial.number in values and trial.state == TrialState.COMPLETE]
    judge: BaseImportanceEvaluator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        judge = PedAnovaImportanceEvaluator() if evaluator == "ped-anova" else FanovaImportanceEvaluator(seed=0)
    found: list[Importance] = []
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        having = [trial for trial in trials if name in trial.params]
        if len(having) >= LEAST_TRIALS and len({str(trial.params[name]) for trial in having}) > 1:
            found.append(Importance(name, _importance(judge, name, having, values, view), len(having)))
    total = sum(each.importance for each in found) or 1.0
    shares = [each._replace(importance=each.importance / total) for each in found]
    return sorted(shares, key=lambda each: -each.importance)


def _importance(
    judge: BaseImportanceEvaluator, name: str, trials: list[FrozenTrial], values: dict[int, float], view: StudyView
) -> float:
    """A parameter's importance in a study in memory that has it alone."""
    quality = view.metric.quality
    known = [
        create_trial(
            params={name: trial.params[name]},
            distributions={name: trial.distributions[name]},
            value=quality(values[trial.number]),
        )
        for trial in trials
    ]
    alone = optuna.create_study(direction="maximize")
    alone.add_trials(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return max(0.0, judge.evaluate(alone, params=[name])[name])
        except (ValueError, RuntimeError):  # all trials alike, or a dimension that never varied
            return 0.0
