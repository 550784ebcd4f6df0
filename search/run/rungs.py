"""Rungs: recipes that begin as short trials, of which the best go on as longer ones (asynchronous successive halving).

Li et al., A System for Massively Parallel Hyperparameter Tuning (2020): whoever is free takes the best recipe that has
earned the next rung, else a new one, and nobody waits. Each rung is a trial of its own, begun anew with the same
recipe; all that is decided follows from the trials in the database.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from ...studies.database.optuna_internals import insert_trial_attr
from ...studies.database.rungs import FROM, PROMOTED, PROMOTED_AGAIN, RUNG, Rung, rung_of, rungs, source_of
from ...studies.database.trials import measurement_of, meets_budget, metric_of
from ...studies.definition.reading import Definition
from ..trial.problem import Problem
from .recording import REPEATED
from .repeating.runs import with_length

# Seconds after which a process that was to queue a recipe, and has not, must have been killed.
_LOST_AFTER = 30.0


class Standing(NamedTuple):
    """How a finished trial stands in its rung.

    Attributes:
        number: of the trial.
        quality: higher is better; None if it diverged, was stopped, or is over the budget.
        promoted: whether its recipe has gone on.
    """

    number: int
    quality: float | None
    promoted: bool


def due(standings: Sequence[Sequence[Standing]], factor: int) -> int | None:
    """The number of the trial whose recipe has earned the next rung and not got it; None if there is none.

    Of n finished trials in a rung the best ⌊n / factor⌋ go on. Higher rungs come first: what is nearest to a whole
    trial is finished before anything new is begun.

    Args:
        standings: of the rungs, the shortest first, without the whole trials.
        factor: by which each rung is longer than the one before.
    """
    for rung in reversed(standings):
        able = sorted((-each.quality, each.number, each.promoted) for each in rung if each.quality is not None)
        for _, number, promoted in able[: len(rung) // factor]:
            if not promoted:
                return number
    return None


class Ladder:
    """A study's rungs, as one process climbs them beside others.

    Args:
        study: the study.
        definition: of it.
    """

    def __init__(self, study: optuna.Study, definition: Definition) -> None:
        table = definition.search
        self.study, self.definition, self.factor = study, definition, table.reduction_factor
        self.rungs = rungs(table.rungs, table.reduction_factor)
        self._taken: dict[int, float] = {}

    def promote(self) -> None:
        """Queues the recipe that has earned the next rung, if there is one and no other process is about to."""
        while (number := due(self._standings(), self.factor)) is not None:
            if self._claim(number):
                trial = self.study.get_trials(deepcopy=False)[number]
                above = self.rungs[rung_of(trial).number]
                self.study.enqueue_trial(trial.params, user_attrs={RUNG: above.to_dict(), FROM: number})
                return
            self._taken[number] = time.monotonic()

    def begin(self, trial: optuna.Trial) -> Rung:
        """The rung of a trial that begins: its own if it was queued for one, else the lowest."""
        if len(self.rungs) > 1 and RUNG not in trial.user_attrs:
            trial.set_user_attr(RUNG, self.rungs[0].to_dict())
        return rung_of(trial)

    def _standings(self) -> list[list[Standing]]:
        trials = self.study.get_trials(deepcopy=False)
        gone_on = {source_of(trial) for trial in trials} | self._about_to_go_on()
        quality = metric_of(self.study).quality
        found: list[list[Standing]] = [[] for _ in self.rungs[:-1]]
        for trial in trials:
            rung = rung_of(trial)
            # One that repeats another's result adds nothing to what is known of the rung.
            if rung.is_whole or REPEATED in trial.user_attrs or not _is_finished(trial):
                continue
            measured = measurement_of(trial)
            counts = measured is not None and meets_budget(measured, self.definition)
            value = quality(measured.metric) if measured is not None and counts else None
            found[rung.number - 1].append(Standing(trial.number, value, trial.number in gone_on))
        return found

    def _claim(self, number: int) -> bool:
        trial = self.study.get_trials(deepcopy=False)[number]
        if number in self._taken:  # whoever claimed it has queued nothing since
            return insert_trial_attr(self.study, trial, PROMOTED_AGAIN, True)
        return insert_trial_attr(self.study, trial, PROMOTED, True)

    def _about_to_go_on(self) -> set[int]:
        """The trials that another process claimed a short while ago, as far as this one has met them."""
        now = time.monotonic()
        return {number for number, since in self._taken.items() if now - since < _LOST_AFTER}


def at_rung(problem: Problem, rung: Rung) -> Problem:
    """The problem with trials of a rung's length."""
    if rung.is_whole:
        return problem
    table = problem.definition.trial
    if table.epochs is not None:
        return with_length(problem, {"epochs": max(1, round(table.epochs * rung.share))})
    assert table.compute is not None, "a trial has one of both"
    return with_length(problem, {"compute": table.compute * rung.share})


def _is_finished(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
