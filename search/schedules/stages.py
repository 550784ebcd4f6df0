"""Stages: which groups fade together, in which order, and in which window of the trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Window:
    """Part of a trial in which α falls from 1 to 0; both ends are shares of the trial, 0 ≤ start ≤ end ≤ 1."""

    start: float
    end: float

    def progress(self, trial_progress: float) -> float:
        """Progress through the window: 0 before it, 1 from its end on."""
        if trial_progress >= self.end:
            return 1.0
        return max(0.0, (trial_progress - self.start) / (self.end - self.start))


def windows_for(
    groups: Sequence[str], *, count: int, fade: float, overlap: float = 0.0, windows: str = "shared"
) -> dict[str, Window]:
    """Each group's window.

    Stages begin one after another and are equally long. Disjoint ones (overlap 0) follow each other without a gap; at
    overlap o a stage begins when the one before has run through 1 − o of its window; at 1 all begin together.

    Args:
        groups: in the order in which they fade.
        count: of stages, at least 1; at most one for each group. Stages differ by one group at most.
        fade: share of the trial after which every α is 0.
        overlap: share of a window that it has in common with the next one, in [0, 1].
        windows: "shared", all groups of a stage fade together; "own", one after another within the stage's window.
    """
    stages = stages_of(groups, count)
    found: dict[str, Window] = {}
    for stage, window in zip(stages, _staggered(Window(0.0, fade), len(stages), overlap), strict=True):
        own = _staggered(window, len(stage), 0.0) if windows == "own" else [window] * len(stage)
        found.update(zip(stage, own, strict=True))
    return found


def ordered(groups: Sequence[str], order: str, scores: Mapping[str, float]) -> list[str]:
    """Groups in the order in which they fade.

    Args:
        groups: in the order of the network's forward.
        order: "forward", "backward", or any other name for falling scores; equal ones in forward order.
        scores: group → score, for the orders that need one: the negative error ("sensitivity"), the MACs that go
            ("cost"), or a searched number ("scores").
    """
    if order in ("forward", "backward"):
        return list(groups) if order == "forward" else list(reversed(groups))
    return sorted(groups, key=lambda name: -scores[name])


def stages_of(groups: Sequence[str], count: int) -> list[Sequence[str]]:
    """The groups of each stage, at most one stage for each group; they differ by one group at most."""
    count = min(count, len(groups))
    edges = [round(i * len(groups) / count) for i in range(count + 1)]
    return [groups[a:b] for a, b in pairwise(edges)]


def _staggered(whole: Window, count: int, overlap: float) -> list[Window]:
    """Equally long windows that fill `whole`."""
    offset = 1.0 - overlap
    length = (whole.end - whole.start) / (1.0 + (count - 1) * offset)
    starts = [whole.start + i * offset * length for i in range(count)]
    # The last one ends where the whole does, exactly.
    return [Window(start, whole.end if i == count - 1 else start + length) for i, start in enumerate(starts)]
