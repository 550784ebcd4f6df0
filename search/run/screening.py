"""Screening: widths judged before any training, by the validation loss of the initialised, folded network alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from ...studies.database.companions import SCREENING, open_companion
from ...studies.definition.dimensions import Dimension, Range
from ..events import Listener, Screened
from ..space import Recipe, SearchSpace
from ..space.known import uniform_shares
from ..space.recipe import Training
from ..trial.measurement import loss_of
from ..trial.task import Task
from ..trial.trial import delivered, initialised

# The widths of this share of the candidates, the best ones, span the ranges of the trained search.
_BEST_SHARE = 0.1
WIDTHS = "widths"


@dataclass(frozen=True)
class Screening:
    """What a study knows from its screening.

    Attributes:
        shares: narrower dimensions for the parameters that decide the widths.
        starts: the best candidates' values of these parameters, the best first.
    """

    shares: dict[str, Dimension]
    starts: list[dict[str, float]]


def screen(
    task: Task, space: SearchSpace, baseline: nn.Module, of: optuna.Study, storage: BaseStorage, tell: Listener
) -> Screening:
    """Judges candidates of widths until the definition's number of them is reached; goes on where it was stopped.

    The candidates are the trials of a study of their own beside the study, called NAME-screening.

    Args:
        task: the study's.
        space: as the definition has it.
        baseline: the trained network.
        of: the study.
        storage: its database.
        tell: receives the progress.
    """
    table = task.definition.screening
    if not table.candidates or not space.searches_widths:
        return Screening({}, [])
    study = open_companion(storage, of, SCREENING, directions=[StudyDirection.MINIMIZE], metrics=["loss"])
    judged = ranked(study)
    # A resumed screening must not draw its first candidates again.
    study.sampler = TPESampler(seed=task.definition.study.seed + len(judged), multivariate=True, n_startup_trials=20)
    if not judged and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(uniform_shares(space))
    losses = {_key(trial.user_attrs[WIDTHS]): trial.value for trial in judged}

    def loss(trial: optuna.Trial) -> float:
        widths = space.propose_widths(trial)
        trial.set_user_attr(WIDTHS, widths)
        key = _key(widths)
        if (known := losses.get(key)) is None:
            known = losses[key] = judge(widths, baseline, task)
        return known

    while (count := len(ranked(study))) < table.candidates:
        study.optimize(loss, n_trials=1)
        tell(Screened(count + 1, table.candidates, study.best_value))
    return summary(space, ranked(study), start=table.start, margin=table.margin)


def judge(widths: dict[str, int], baseline: nn.Module, task: Task) -> float:
    """Validation loss of the network with these widths, initialised and folded, not trained."""
    recipe = Recipe(shape="instant", parameters={}, fade=0.0, widths=widths, training=Training(lr=1.0))
    return loss_of(delivered(initialised(recipe, baseline, task), task), task.validation_batches())


def summary(space: SearchSpace, trials: Iterable[FrozenTrial], *, start: int, margin: float) -> Screening:
    """Where the trained search begins.

    With a parameter for each group, its values become the shares that remain, so that they mean the same in all
    candidates.

    Args:
        space: of the study.
        trials: the candidates.
        start: how many to begin with.
        margin: share by which the ranges are wider than the best candidates'.
    """
    best: list[dict[str, float]] = []
    for trial in sorted(trials, key=_loss):
        values = space.shares_of(trial.user_attrs[WIDTHS]) if space.table.keep.per == "layer" else dict(trial.params)
        if values not in best:
            best.append(values)
    leading = best[: max(start, round(_BEST_SHARE * len(best)))]
    dimensions = space.keep_dimensions()
    shares: dict[str, Dimension] = {}
    for name in leading[0] if leading else ():
        if isinstance(dimension := dimensions.get(name), Range):
            shares[name] = _spanned(dimension, [values[name] for values in leading], margin)
    return Screening(shares, best[:start])


def _spanned(dimension: Range, values: list[float], margin: float) -> Range:
    low, high = min(values), max(values)
    room = margin * max(abs(low), abs(high))
    # A share that scaling to the budget brought out of the range stays possible.
    least, most = min(dimension.low, low), max(dimension.high, high)
    return replace(dimension, low=max(least, low - room), high=min(most, high + room), step=None)


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """The candidates that a screening has judged, the least loss first."""
    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=_loss)


def _loss(trial: FrozenTrial) -> float:
    return trial.value or 0.0


def _key(widths: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(widths.items()))
