"""The shapes of α schedules: how the original network fades out while its branches take over.

A shape maps the progress t of its window to α. It starts at 1 or below, never rises and is exactly 0 from t = 1 on.
A new shape is one function of t in [0, 1) and one entry in ``SHAPES``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    """A family of schedules.

    Attributes:
        function: α of progress t in [0, 1), of the parameters and, where it `observes`, of the losses so far.
        parameters: the shape's own.
        observes: whether it takes, as `losses`, the validation losses observed since its window began.
        stepwise: whether α stays as it is for a while and then falls at once.
    """

    function: Callable[..., float]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    observes: bool = False
    stepwise: bool = False


def instant(t: float) -> float:
    """0: the branches take over at once."""
    return 0.0


def step(t: float, *, steps: int) -> float:
    """1 − 1/steps, 1 − 2/steps, … 0, each for an equal share of the window (0.9 … 0 for ten steps)."""
    done = math.floor(t * steps + _ROUNDING) + 1
    return max(0, steps - done) / steps


def linear(t: float) -> float:
    """1 − t."""
    return 1.0 - t


def cosine(t: float) -> float:
    """(1 + cos πt) / 2, as torch's CosineAnnealingLR does between 1 and 0."""
    return 0.5 * (1.0 + math.cos(math.pi * t))


def exponential(t: float, *, rate: float) -> float:
    """(e^(−rate·t) − e^(−rate)) / (1 − e^(−rate)), the exponential decay brought down to exactly 0 at t = 1.

    Over a window of n steps torch's ExponentialLR decays alike with gamma = e^(−rate/n), without reaching 0.
    """
    # The same quotient through expm1, which keeps its digits where the rate is small.
    return math.exp(-rate * t) * math.expm1(-rate * (1.0 - t)) / math.expm1(-rate)


def knee(t: float, *, threshold: float, position: float) -> float:
    """The two straight lines from 1 at t = 0 to ``threshold`` at t = ``position`` and on to 0 at t = 1.

    It is fast above the threshold and slow below it where threshold + position < 1, as everywhere in the default
    ranges; where the sum is above 1 it is the other way round, and at 1 it is ``linear``.
    """
    if t < position:
        return max(threshold, 1.0 - (1.0 - threshold) * t / position)
    return threshold * (1.0 - t) / (1.0 - position)


def multiplicative(t: float, *, factor: float, steps: int) -> float:
    """The powers factor, factor², … factor^(steps − 1), each for an equal share of the window, and a last share at 0.

    As torch's MultiplicativeLR with a constant factor, brought down to exactly 0.
    """
    done = math.floor(t * steps + _ROUNDING) + 1
    return 0.0 if done >= steps else factor**done


def polynomial(t: float, *, power: float) -> float:
    """(1 − t)^power, as torch's PolynomialLR does between 1 and 0."""
    return float((1.0 - t) ** power)


def sigmoid(t: float, *, steepness: float, centre: float) -> float:
    """σ(steepness · (centre − t)), stretched so that it is exactly 1 at t = 0 and 0 at t = 1."""

    def logistic(x: float) -> float:
        return 0.5 * (1.0 + math.tanh(0.5 * x))

    first, last = logistic(steepness * centre), logistic(steepness * (centre - 1.0))
    if not first > last:  # so flat or so steep that both ends round to the same number
        return 1.0 - t if steepness < 1 else float(t < centre)
    return min(1.0, max(0.0, (logistic(steepness * (centre - t)) - last) / (first - last)))


def knots(t: float, *, first: float, second: float, third: float, fourth: float) -> float:
    """The line through five knots at t = 0, 0.2, … 0.8, and 0 at t = 1; it may have any falling form.

    α is 1 at t = 0; each parameter is the share of α that is left from one knot to the next.
    """
    heights = [1.0]
    for share in (first, second, third, fourth):
        heights.append(heights[-1] * share)
    heights.append(0.0)
    place = t * 5.0
    left = min(math.floor(place), 4)
    right = place - left
    # Rounded like this it never rises, not even by the last digit.
    return max(heights[left + 1], heights[left] - right * (heights[left] - heights[left + 1]))


def plateau(t: float, *, drop: float, patience: int, losses: Sequence[float]) -> float:
    """1 less `drop` for every time the validation loss has stopped improving; at least 0.

    As torch's ReduceLROnPlateau, α falls when `patience` observations in a row were no better than the best one since
    it last fell.
    """
    fallen, best, waited = 0, math.inf, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= patience:
            fallen, best, waited = fallen + 1, math.inf, 0
    return max(0.0, 1.0 - drop * fallen)


def _share_left(default: float) -> Parameter:
    return Parameter(default, 0.3, 0.99, below=1.0)


SHAPES: dict[str, Shape] = {
    "instant": Shape(instant),
    "step": Shape(step, {"steps": Parameter(10, 2, 20, below=1e6)}, stepwise=True),
    "linear": Shape(linear),
    "multiplicative": Shape(
        multiplicative,
        {"factor": Parameter(0.8, 0.5, 0.95, below=1.0), "steps": Parameter(10, 2, 20, below=1e6)},
        stepwise=True,
    ),
    "exponential": Shape(exponential, {"rate": Parameter(5.0, 1.0, 20.0, log=True)}),
    "cosine": Shape(cosine),
    "polynomial": Shape(polynomial, {"power": Parameter(2.0, 0.3, 5.0, log=True)}),
    "sigmoid": Shape(
        sigmoid,
        {"steepness": Parameter(10.0, 4.0, 30.0, log=True), "centre": Parameter(0.5, 0.2, 0.8, below=1.0)},
    ),
    "knee": Shape(
        knee,
        {"threshold": Parameter(0.2, 0.05, 0.45, below=1.0), "position": Parameter(0.2, 0.05, 0.45, below=1.0)},
    ),
    "knots": Shape(
        knots,
        {
            "first": _share_left(0.8),
            "second": _share_left(0.75),
            "third": _share_left(0.67),
            "fourth": _share_left(0.5),
        },
    ),
    "plateau": Shape(
        plateau,
        {"drop": Parameter(0.1, 0.05, 0.34, below=1.0), "patience": Parameter(1, 1, 3, below=1e6)},
        observes=True,
        stepwise=True,
    ),
}
