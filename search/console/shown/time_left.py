"""How long a run still takes, as a range: from what ended, and from the rest of what runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Of fewer nothing is foretold.
LEAST_ENDED = 3


class Range(NamedTuple):
    """So many seconds at least and at most."""

    low: float
    high: float


def quartiles(seconds: Sequence[float]) -> Range | None:
    """What the quicker and the slower quarter of those that ended took; None of fewer than `LEAST_ENDED`."""
    if len(seconds) < LEAST_ENDED:
        return None
    first, _, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return Range(first, third)


def rest_of(elapsed: float, typical: Range | None, pace: float | None = None) -> Range | None:
    """What is left of one that runs: by those that ended, and by its own pace; None where neither is known.

    Args:
        elapsed: seconds since it began.
        typical: quartiles of those that ended.
        pace: seconds that it needs at the speed it had so far.
    """
    ends = [] if typical is None else [typical.low - elapsed, typical.high - elapsed]
    ends += [] if pace is None else [pace]
    return Range(max(0.0, min(ends)), max(0.0, *ends)) if ends else None


def time_left(running: Sequence[Range | None], waiting: int, typical: Range | None, workers: int = 1) -> Range | None:
    """What is left of a run: as if all that wait took as long as the quicker or as the slower quarter did.

    Args:
        running: what is left of each that runs.
        waiting: how many have not begun.
        typical: quartiles of those that ended.
        workers: how many run at a time.

    Returns:
        The range; None where something is not known.
    """
    known = [rest for rest in running if rest is not None]
    if len(known) < len(running) or (waiting > 0 and typical is None):
        return None
    low, high = typical or Range(0.0, 0.0)
    totals = (
        (sum(rest.low for rest in known) + waiting * low, max((rest.low for rest in known), default=0.0)),
        (sum(rest.high for rest in known) + waiting * high, max((rest.high for rest in known), default=0.0)),
    )
    # Shared among the workers, but no sooner than the longest that runs.
    return Range(*(max(total / workers, longest) for total, longest in totals))


def range_text(left: Range) -> str:
    """A range for people, in the unit of its longer end: "12 to 19 min", "about 40 s"."""
    for unit, seconds, digits in (("h", 3600, 1), ("min", 60, 0), ("s", 1, 0)):
        if left.high >= 1.5 * seconds or seconds == 1:
            low, high = (f"{end / seconds:.{digits}f}" for end in left)
            return f"about {high} {unit}" if low == high else f"{low} to {high} {unit}"
    raise AssertionError("the last unit takes all")
