"""What is tried in each arm: two guesses that are known to be good, the nearest cell's winner, then random ones."""

import math
import random
from typing import Any

from branchfold.search.schedules import SHAPES
from branchfold.search.space.recipe import Recipe, Stages, Training, narrowed

from .cells import METHODS, Cell

SCHEDULE, AT_ONCE = "schedule", "at once"
ARMS = (SCHEDULE, AT_ONCE)
# The least share of a run in which α falls: a schedule may not be almost none.
LEAST_FADE, MOST_FADE = 0.1, 0.6
_SHAPES = ("linear", "cosine", "exponential", "knee", "step", "polynomial")
# The best known one twice.
_BLENDINGS = ("probability", "probability", "uniform", "convex")

Choice = dict[str, Any]
# What both arms begin with: as it is known, and with the baseline's outputs, which cost nothing for unshifted images.
_PLAIN: Choice = {"augment": "shift-flip", "distillation": 0.0}
_TAUGHT: Choice = {"augment": "flip", "distillation": 0.7, "lr": 0.05}
_FADING: Choice = {"shape": "linear", "parameters": {}, "stages": 1, "order": "forward", "blending": "probability"}
GUESSES: dict[str, list[Choice]] = {
    AT_ONCE: [{**_PLAIN, "lr": 0.02}, _TAUGHT],
    SCHEDULE: [{**_PLAIN, **_FADING, "lr": 0.05, "fade": 0.5}, {**_TAUGHT, **_FADING, "fade": 0.2}],
}


def choice_of(cell: Cell, arm: str, trial: int, nearest: Choice | None) -> Choice:
    """What a trial of the tuning tries.

    Args:
        cell: that is tuned.
        arm: in `ARMS`.
        trial: its number from 0.
        nearest: the winner of the same arm in the most similar cell that is done; None if there is none.
    """
    guesses = GUESSES[arm]
    if trial < len(guesses):
        return guesses[trial]
    if trial == len(guesses) and nearest is not None and nearest not in guesses:
        return nearest
    # Both arms draw the same rate, augmentation and distillation, so that neither has the luckier ones.
    drawn = _training(random.Random(f"{cell} {trial}"))
    return drawn if arm == AT_ONCE else {**drawn, **_schedule(random.Random(f"{cell} {trial} schedule"))}


def _training(rng: random.Random) -> Choice:
    taught = rng.random() < 2 / 3
    return {
        "lr": _logarithmic(rng, 0.01, 0.2),
        "augment": rng.choice(("shift-flip", "flip", "none")),
        "distillation": round(rng.uniform(0.3, 0.95), 2) if taught else 0.0,
    }


def _schedule(rng: random.Random) -> Choice:
    shape = rng.choice(_SHAPES)
    parameters = {
        name: rng.randint(int(p.low), int(p.high)) if isinstance(p.default, int) else _within(rng, p.low, p.high, p.log)
        for name, p in SHAPES[shape].parameters.items()
    }
    return {
        "shape": shape,
        "parameters": parameters,
        "fade": _logarithmic(rng, LEAST_FADE, MOST_FADE),
        "stages": rng.choice((1, 2, 3)),
        "order": rng.choice(("forward", "backward")),
        "blending": rng.choice(_BLENDINGS),
    }


def _within(rng: random.Random, low: float, high: float, log: bool) -> float:
    return _logarithmic(rng, low, high) if log else rng.uniform(low, high)


def _logarithmic(rng: random.Random, low: float, high: float) -> float:
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def recipe_of(choice: Choice, cell: Cell, widths: dict[str, int], full: dict[str, int]) -> Recipe:
    """A choice as the recipe of a trial.

    Args:
        choice: that `choice_of` gave.
        cell: where it is tried.
        widths: group → channels that stay.
        full: group → channels of the baseline.
    """
    groups = tuple(narrowed(widths, full, list(full)))
    training = Training(lr=choice["lr"], augment=choice["augment"], distillation=choice["distillation"])
    if "shape" not in choice:
        return Recipe("instant", {}, 0.0, widths, training, Stages(sequence=groups), method=METHODS[cell.branches])
    sequence = groups if choice["order"] == "forward" else groups[::-1]
    return Recipe(
        shape=choice["shape"],
        parameters=choice["parameters"],
        fade=choice["fade"],
        widths=widths,
        training=training,
        stages=Stages(count=choice["stages"], order=choice["order"], sequence=sequence),
        method=METHODS[cell.branches],
        blending=choice["blending"],
    )
