"""The rungs of a study's trials: which of them are whole, what each counts, and which recipe went on from where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

# Attributes of a trial: its rung, and the trial of the rung below that had its recipe. One without a rung is whole.
RUNG = "rung"
FROM = "promoted_from"
# A trial of a lower rung: that a process queues its recipe for the next one. Whoever writes it first does so.
PROMOTED = "promoted"
# Likewise, where the process that wrote it was killed before it had queued anything.
PROMOTED_AGAIN = "promoted_again"
# What is a trial's own, whichever other trial had the same recipe.
OWN = frozenset({FROM, PROMOTED, PROMOTED_AGAIN})
# Sums of shares such as a ninth are whole numbers but for rounding.
_ROUNDING = 1e-6


class Rung(NamedTuple):
    """How much of a trial is trained.

    Attributes:
        number: from 1, the shortest.
        of: how many there are; the last one is the whole trial.
        share: of the whole trial's length, (0, 1].
    """

    number: int
    of: int
    share: float

    @property
    def is_whole(self) -> bool:
        """Whether the trial is a whole one, whose network may be delivered."""
        return self.number == self.of

    @property
    def text(self) -> str:
        """For people: "rung 1 of 3"."""
        return f"rung {self.number} of {self.of}"

    def to_dict(self) -> dict[str, Any]:
        """As a trial's attribute keeps it."""
        return self._asdict()


WHOLE = Rung(1, 1, 1.0)


def rungs(count: int, factor: int) -> list[Rung]:
    """The rungs of a study, the shortest first.

    Args:
        count: of the rungs.
        factor: by which each is longer than the one before.
    """
    return [Rung(number, count, float(factor) ** (number - count)) for number in range(1, count + 1)]


def rung_of(trial: FrozenTrial | optuna.Trial) -> Rung:
    """The rung that a trial has or had."""
    kept = trial.user_attrs.get(RUNG)
    return WHOLE if kept is None else Rung(**kept)


def source_of(trial: FrozenTrial) -> int | None:
    """The number of the trial, a rung below, whose recipe this one goes on with; None of a new recipe."""
    return trial.user_attrs.get(FROM)


def worth(trials: Iterable[FrozenTrial]) -> float:
    """How many whole trials these are worth: each counts its rung's share."""
    return sum(rung_of(trial).share for trial in trials)


def finished_count(study: optuna.Study) -> int:
    """The trials that count towards `study.trials`, in whole ones."""
    return whole(worth(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))))


def whole(count: float) -> int:
    """As many whole trials as so many are worth, rounded down."""
    return int(count + _ROUNDING)


def left(target: int, count: float) -> int:
    """Whole trials that are missing to `target`, rounded up; 0 at least."""
    return max(0, target - int(count + _ROUNDING))
