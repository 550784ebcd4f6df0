"""Screening: widths judged before any training, by the validation loss of the initialised, folded network alone.

The best of them are then trained for a few steps (`sprint`).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from ...studies.database.companions import SCREENING, open_companion
from ...studies.database.optuna_internals import claim
from ...studies.database.trials import end_abandoned
from ...studies.definition.dimensions import Dimension, Range
from ..events import Listener, Notice, Screened, ScreeningStarted
from ..space import SearchSpace
from ..space.known import uniform_shares
from ..trial.measurement import loss_of
from ..trial.problem import Problem
from ..trial.untrained import Untrained
from .recording import releasing
from .sprint import ranked_by_sprints

# The widths of this share of the candidates, the best ones, span the ranges of the trained search.
_BEST_SHARE = 0.1
WIDTHS = "widths"
# Attribute of the screening's study: the process that began it.
_BEGUN = "begun"
# Seconds between looks at what other processes judge.
_POLL = 0.5


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
    problem: Problem, space: SearchSpace, baseline: nn.Module, of: optuna.Study, storage: RDBStorage, notify: Listener
) -> Screening:
    """Judges candidates of widths until the definition's number of them is reached; goes on where it was stopped.

    The candidates are the trials of a study of their own beside the study, called NAME-screening; several processes
    may judge them at once.

    Args:
        problem: the study's.
        space: as the definition has it.
        baseline: the trained network.
        of: the study.
        storage: its database.
        notify: receives the progress.
    """
    table = problem.definition.screening
    if not table.candidates or not space.searches_widths:
        return Screening({}, [])
    study = open_companion(
        storage,
        of,
        SCREENING,
        directions=[StudyDirection.MINIMIZE],
        metrics=["loss"],
        told=lambda line: notify(Notice(line)),
    )
    first = not study.get_trials(deepcopy=False) and claim(study, _BEGUN)
    if first:
        study.enqueue_trial(uniform_shares(space))
    # Whoever comes later, after a stop or beside another process, must not draw the first one's candidates again.
    seed = problem.definition.study.seed if first else None
    study.sampler = TPESampler(seed=seed, multivariate=True, n_startup_trials=20)
    shared = cache(lambda: Untrained(baseline, problem))
    _Candidates(study, table.candidates, notify).judge(
        lambda trial: _loss_of_proposal(trial, space, lambda widths: judge(widths, baseline, problem, shared()))
    )
    judged = ranked(study)
    widths = [trial.user_attrs[WIDTHS] for trial in judged]
    trained = ranked_by_sprints(study, widths, space, lambda widths: shared().folded(widths), problem, notify)
    return summary(space, judged, start=table.start, margin=table.margin, first=trained)


class _Surplus(Exception):  # noqa: N818  not an error: other processes judge the last candidates
    pass


class _Candidates:
    """The candidates of a screening, which several processes may judge at once: each gets another one.

    Args:
        study: of the screening.
        count: how many candidates are wanted.
        notify: receives the progress.
    """

    def __init__(self, study: optuna.Study, count: int, notify: Listener) -> None:
        self.study, self.count, self.notify = study, count, notify
        self._told = 0

    def judge(self, loss: Callable[[optuna.Trial], float]) -> None:
        """Judges until there are enough, and waits for those that other processes judge."""
        self._told = judged = len(ranked(self.study))
        if judged < self.count:
            self.notify(ScreeningStarted(judged, self.count))
        while len(ranked(self.study)) < self.count:
            if self._taken() < self.count:
                self._next(loss)
            else:
                end_abandoned(self.study)
                time.sleep(_POLL)
            self._progress()
        self._progress()  # the last one may have come from elsewhere since

    def _next(self, loss: Callable[[optuna.Trial], float]) -> None:
        with releasing(self.study) as begun:

            def objective(trial: optuna.Trial) -> float:
                begun.append(trial.number)
                if self._taken(before=trial.number) >= self.count:
                    raise _Surplus
                return loss(trial)

            self.study.optimize(objective, n_trials=1, catch=(_Surplus,))

    def _taken(self, before: int | None = None) -> int:
        """Candidates that are judged or being judged; with `before`, those of lower numbers."""
        taken = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        return sum(before is None or trial.number < before for trial in taken)

    def _progress(self) -> None:
        judged = min(len(ranked(self.study)), self.count)
        if judged > self._told:
            self._told = judged
            self.notify(Screened(judged, self.count, self.study.best_value))


def _loss_of_proposal(trial: optuna.Trial, space: SearchSpace, loss: Callable[[dict[str, int]], float]) -> float:
    """The loss of the widths that a candidate proposes; known where other parameters gave the same widths."""
    widths = space.propose_widths(trial)
    trial.set_user_attr(WIDTHS, widths)
    known = (other.value for other in ranked(trial.study) if _key(other.user_attrs[WIDTHS]) == _key(widths))
    found = next(known, None)
    return loss(widths) if found is None else found


def judge(widths: dict[str, int], baseline: nn.Module, problem: Problem, untrained: Untrained | None = None) -> float:
    """Validation loss of the network with these widths, initialised and folded, not trained.

    Args:
        widths: group → channels.
        baseline: the trained network.
        problem: the study's.
        untrained: what candidates share, if there are others.
    """
    shared = untrained or Untrained(baseline, problem)
    return loss_of(shared.folded(widths), problem.validation_batches(), problem.task, shared.arithmetic)


def summary(
    space: SearchSpace,
    trials: Iterable[FrozenTrial],
    *,
    start: int,
    margin: float,
    first: Iterable[Mapping[str, int]] = (),
) -> Screening:
    """Where the trained search begins.

    With a parameter for each group, its values become the shares that remain, so that they mean the same in all
    candidates.

    Args:
        space: of the study.
        trials: the candidates.
        start: how many to begin with.
        margin: share by which the ranges are wider than the best candidates'.
        first: widths that come before all others, the best first; with shared parameters those of candidates.
    """
    judged = [(trial.user_attrs[WIDTHS], trial.params) for trial in sorted(trials, key=_loss)]
    proposals = {_key(widths): values for widths, values in reversed(judged)}
    trained = [(widths, proposals.get(_key(widths), {})) for widths in first]
    best: list[dict[str, float]] = []
    for widths, proposed in (*trained, *judged):
        values = space.shares_of(widths) if space.table.keep.per == "layer" else dict(proposed)
        if values not in best:
            best.append(values)
    leading = best[: max(start, round(_BEST_SHARE * len(best)))]
    dimensions = space.keep_dimensions()
    shares: dict[str, Dimension] = {}
    for name in leading[0] if leading else ():
        if isinstance(dimension := dimensions.get(name), Range):
            shares[name] = _spanned(dimension, [values[name] for values in leading], margin)
    return Screening(shares, best[:start])


def including(shares: Mapping[str, Dimension], values: Mapping[str, float]) -> dict[str, Dimension]:
    """The dimensions, where need be so much wider that they hold these values."""
    wider = dict(shares)
    for name, value in values.items():
        if isinstance(dimension := shares.get(name), Range):
            wider[name] = replace(dimension, low=min(dimension.low, value), high=max(dimension.high, value))
    return wider


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
