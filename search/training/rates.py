"""The course of the learning rate over a trial, as a share of its peak; it may begin anew when α changes."""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

from ..schedules import SHAPES, Schedule, Window

# As torch's OneCycleLR has them by default.
_WARM_UP = 0.3
_FIRST = 1 / 25
_LAST = _FIRST / 1e4


def one_cycle(t: float) -> float:
    """1/25 rising to 1 at t = 0.3 and falling to almost 0, both as half a cosine: torch's OneCycleLR."""
    if t < _WARM_UP:
        return _annealed(_FIRST, 1.0, t / _WARM_UP)
    return _annealed(1.0, _LAST, (t - _WARM_UP) / (1.0 - _WARM_UP))


def cosine(t: float) -> float:
    """(1 + cos πt) / 2: torch's CosineAnnealingLR and, with restarts, SGDR (Loshchilov and Hutter, 2017)."""
    return _annealed(1.0, 0.0, t)


def linear(t: float) -> float:
    """1 − t."""
    return 1.0 - t


RATES: dict[str, Callable[[float], float]] = {"one-cycle": one_cycle, "cosine": cosine, "linear": linear}


def course(name: str, restarts: Iterable[float]) -> Callable[[float], float]:
    """The rate's share of its peak as a function of the trial's progress in [0, 1].

    Args:
        name: in ``RATES``.
        restarts: places in the trial where the course begins anew; each lasts until the next.
    """
    rate = RATES[name]
    edges = [0.0, *sorted({x for x in restarts if 0.0 < x < 1.0}), 1.0]

    def share(progress: float) -> float:
        start, end = next((a, b) for a, b in pairwise(edges) if progress < b or b == 1.0)
        return rate(min(1.0, (progress - start) / (end - start)))

    return share


def restart_points(kind: str, schedule: Schedule, windows: Iterable[Window]) -> list[float]:
    """Where in the trial the learning rate begins anew.

    Args:
        kind: "none"; "stages", at the end of every window; "alpha", at every fall of a stepwise shape as well.
        schedule: of all windows.
        windows: of the groups.
    """
    if kind == "none":
        return []
    found = {window.end for window in windows}
    steps = schedule.parameters.get("steps") if SHAPES[schedule.shape].stepwise else None
    if kind == "alpha" and steps is not None:
        for window in windows:
            length = window.end - window.start
            found |= {window.start + length * i / steps for i in range(1, int(steps))}
    return sorted(found)


def _annealed(first: float, last: float, t: float) -> float:
    return last + (first - last) * (1.0 + math.cos(math.pi * t)) / 2.0
