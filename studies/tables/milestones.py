"""The table of milestones: how a trial went, from the initialised network to its end."""

from __future__ import annotations

from typing import NamedTuple

from optuna.trial import FrozenTrial

from ..database.trials import history_of


class Milestone(NamedTuple):
    """A trial at one of its milestones; number 0 is the initialised network, None is not known.

    Attributes:
        number: of the milestone.
        compute: spent so far, in epochs of the baseline's training.
        alpha: mean α of the narrowed groups.
        alphas: that of each stage; empty where it was not kept.
        metric: on the validation split at the current α.
        folded_metric: likewise at α = 0.
        loss: mean training loss since the milestone before.
        rate: learning rate of the last step.
    """

    number: int
    compute: float | None
    alpha: float | None
    alphas: tuple[float, ...]
    metric: float | None
    folded_metric: float | None
    loss: float | None
    rate: float | None


def milestones_of(trial: FrozenTrial) -> list[Milestone]:
    """A trial's milestones, in order; of one that runs those that the study's pruner heard of."""
    kept = history_of(trial)
    if not kept:
        reported = sorted(trial.intermediate_values.items())
        return [Milestone(number, None, None, (), None, value, None, None) for number, value in reported]
    return [
        Milestone(
            number=int(entry["number"]),
            compute=entry.get("compute"),
            alpha=entry.get("alpha"),
            alphas=tuple(entry.get("alphas") or ()),
            metric=entry.get("metric"),
            folded_metric=entry.get("folded_metric"),
            loss=entry.get("loss"),
            rate=entry.get("rate"),
        )
        for entry in kept
    ]
