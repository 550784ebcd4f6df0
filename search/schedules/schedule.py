"""A schedule: a shape with all its parameters chosen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ...errors import ScheduleError, nearest
from .shapes import SHAPES, Parameter

T = TypeVar("T")


@dataclass
class Schedule:
    """A shape with all its parameters chosen: call it with the progress of its window to get α.

    Attributes:
        shape: name in ``SHAPES``.
        parameters: values of all its parameters.
        losses: the validation losses observed since the window began.
    """

    shape: str
    parameters: Mapping[str, float | int]
    losses: list[float] = field(default_factory=list)

    @property
    def observes(self) -> bool:
        """Whether α depends on validation losses."""
        return SHAPES[self.shape].observes

    def observe(self, loss: float) -> None:
        """Takes note of the validation loss at the current α."""
        self.losses.append(loss)

    def __call__(self, progress: float) -> float:
        """The value of α at a progress of at least 0; from 1 on it is exactly 0."""
        if not progress >= 0:
            raise ScheduleError(f"progress must be at least 0, but got progress={progress!r}")
        if progress >= 1:
            return 0.0
        seen = {"losses": self.losses} if self.observes else {}
        return SHAPES[self.shape].function(progress, **self.parameters, **seen)


def make_schedule(shape: str, **parameters: float | int) -> Schedule:
    """The schedule of a shape: a function from progress t ≥ 0 to α.

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
    known = ", ".join(table) or "none, it has no parameters"
    raise ScheduleError(f"unknown {kind}: {name!r}{nearest(str(name), table)} (known: {known})")


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
