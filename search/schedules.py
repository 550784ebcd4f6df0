"""α schedules: how the original network fades out while its branches take over.

A schedule maps the progress t of its window to α. It starts at 1 or below, never rises and is exactly 0 from t = 1 on.
A new shape is one function of t in [0, 1) and one entry in ``SHAPES``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar

from ..errors import ScheduleError

T = TypeVar("T")

# k / n × n may land just below the whole number k: t = 29 / 100 would then still be on the step before.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Parameter:
    """A parameter of a shape; a whole number where its default is one.

    Attributes:
        default: Its value where none is given.
        low: Lower end of the range that a search takes by default, included.
        high: Upper end of the range that a search takes by default, included.
        log: Whether a search should draw it on a logarithmic scale.
        above: What every valid value lies above.
        below: What every valid value lies below.
    """

    default: float | int
    low: float | int
    high: float | int
    log: bool = False
    above: float = 0.0
    below: float = math.inf


@dataclass(frozen=True)
class Shape:
    """A family of schedules: α as a function of progress t in [0, 1) and of its parameters."""

    function: Callable[..., float]
    parameters: dict[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """A shape with all its parameters chosen: call it with the progress of its window to get α."""

    shape: str
    parameters: Mapping[str, float | int]

    def __call__(self, progress: float) -> float:
        """Return α at a progress of at least 0; from 1 on it is exactly 0."""
        if not progress >= 0:
            raise ScheduleError(f"progress must be at least 0, but got progress={progress!r}")
        if progress >= 1:
            return 0.0
        return SHAPES[self.shape].function(progress, **self.parameters)


def instant(t: float) -> float:
    """Return 0: the branches take over at once."""
    return 0.0


def step(t: float, *, steps: int) -> float:
    """Return 1 − 1/steps, 1 − 2/steps, … 0, each for an equal share of the window (0.9 … 0 for ten steps)."""
    done = math.floor(t * steps + _ROUNDING) + 1
    return max(0, steps - done) / steps


def linear(t: float) -> float:
    """Return 1 − t."""
    return 1.0 - t


def cosine(t: float) -> float:
    """Return (1 + cos πt) / 2, as torch's CosineAnnealingLR does between 1 and 0."""
    return 0.5 * (1.0 + math.cos(math.pi * t))


def exponential(t: float, *, rate: float) -> float:
    """Return (e^(−rate·t) − e^(−rate)) / (1 − e^(−rate)), the exponential decay brought down to exactly 0 at t = 1.

    Over a window of n steps torch's ExponentialLR decays alike with gamma = e^(−rate/n), without reaching 0.
    """
    # The same quotient through expm1, which keeps its digits where the rate is small.
    return math.exp(-rate * t) * math.expm1(-rate * (1.0 - t)) / math.expm1(-rate)


def knee(t: float, *, threshold: float, position: float) -> float:
    """Return the two straight lines from 1 at t = 0 to ``threshold`` at t = ``position`` and on to 0 at t = 1.

    It is fast above the threshold and slow below it where threshold + position < 1, as everywhere in the default
    ranges; where the sum is above 1 it is the other way round, and at 1 it is ``linear``.
    """
    if t < position:
        return max(threshold, 1.0 - (1.0 - threshold) * t / position)
    return threshold * (1.0 - t) / (1.0 - position)


SHAPES: dict[str, Shape] = {
    "instant": Shape(instant),
    "step": Shape(step, {"steps": Parameter(10, 2, 20, below=1e6)}),
    "linear": Shape(linear),
    "cosine": Shape(cosine),
    "exponential": Shape(exponential, {"rate": Parameter(5.0, 1.0, 20.0, log=True)}),
    "knee": Shape(
        knee,
        {"threshold": Parameter(0.2, 0.05, 0.45, below=1.0), "position": Parameter(0.2, 0.05, 0.45, below=1.0)},
    ),
}


def make_schedule(shape: str, **parameters: float | int) -> Callable[[float], float]:
    """Return the schedule of a shape: a function from progress t ≥ 0 to α.

    Args:
        shape: A name in ``SHAPES``.
        **parameters: The shape's parameters; those left out take their defaults.

    Raises:
        ScheduleError: If the shape or a parameter is unknown or a value is out of its range.
    """
    known = _lookup(shape, SHAPES, "schedule").parameters
    chosen = {name: parameter.default for name, parameter in known.items()}
    for name, value in parameters.items():
        _check(f"{shape}'s {name}", value, _lookup(name, known, f"parameter of the schedule {shape!r}"))
        chosen[name] = value
    return Schedule(shape, chosen)


def _lookup(name: str, table: Mapping[str, T], kind: str) -> T:
    if name in table:
        return table[name]
    near = get_close_matches(str(name), table, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ScheduleError(f"unknown {kind}: {name!r}; {hint}known: {', '.join(table) or 'none, it has no parameters'}")


def _check(label: str, value: object, parameter: Parameter) -> None:
    whole = isinstance(parameter.default, int)
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not parameter.above < value < parameter.below:  # type: ignore[operator]
        limit = "" if parameter.below == math.inf else f" and below {parameter.below:g}"
        noun = "whole number" if whole else "finite number"
        raise ScheduleError(
            f"{label} must be a {noun} above {parameter.above:g}{limit}, but got {value!r} "
            f"(searched by default from {parameter.low:g} to {parameter.high:g})"
        )
