"""Batches, pass after pass, whose place is known: a training goes on at the batch where an earlier one was stopped."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..data.data import BatchSource
from .states import State, random_states, restore_random


class Place(NamedTuple):
    """A place in the data: before a batch.

    Attributes:
        number: of the pass, from 0.
        batch: of that pass, from 0.
        begun: all generators' states when the pass began: a loader of the user's own may draw its order from them.
        reached: likewise before the batch was read.
    """

    number: int
    batch: int
    begun: State
    reached: State


class Passes:
    """A source of batches that tells where it is.

    Args:
        batches: whose passes follow from seed and number, or from torch's, NumPy's and Python's own generators.
        at: where to begin; the first pass is then the rest of one.
    """

    def __init__(self, batches: BatchSource, at: Place | None = None) -> None:
        self.batches, self._at = batches, at
        self.first = at.number if at is not None else 0
        self.place = at

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        at, self._at = self._at, None
        number = self.first if self.place is None or at is not None else self.place.number + 1
        self.batches.epoch = number
        skipped = 0
        if at is not None:
            restore_random(at.begun)
        begun, batches = random_states(), iter(self.batches)
        while at is not None and skipped < at.batch:
            next(batches)
            skipped += 1
        if at is not None:
            restore_random(at.reached)
        while True:
            self.place = Place(number, skipped, begun, random_states())
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch
            skipped += 1
