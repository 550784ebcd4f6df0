"""The ways in which new branches get their weights, by name; a new one is its file, its entry here and its name."""

from collections.abc import Callable
from typing import NamedTuple

from ..branches.network import BranchedNetwork
from ..channels.groups import Analysis
from .choice import choose_channels
from .least_squares import initialise_from_data
from .original import MOST_HELD, Original
from .steadiness import require_steady
from .unfitted import initialise_at_random, initialise_by_selection


class Initialisation(NamedTuple):
    """A way in which new branches get their weights.

    Attributes:
        fit: gives all branches their weights, in place, from what the original makes of data, by a choice of channels.
        channels: the choice of channels where none is asked for; None for a way that chooses none and needs no data.
        most_held: bytes of the original's activations that are worth holding for it.
    """

    fit: Callable[[BranchedNetwork, Analysis, Original, str], None]
    channels: str | None
    most_held: int = 0


def _fitted(branched: BranchedNetwork, analysis: Analysis, original: Original, choice: str) -> None:
    initialise_from_data(branched, analysis, original, choice=choice)
    require_steady(branched, original.batches[0])


def _selected(branched: BranchedNetwork, analysis: Analysis, original: Original, choice: str) -> None:
    chosen = choose_channels(analysis, branched.plan.widths, original, choice)
    branched.select(chosen, lambda made: initialise_by_selection(made, chosen))


def _drawn(branched: BranchedNetwork, analysis: Analysis, original: Original, choice: str) -> None:
    initialise_at_random(branched)


INITIALISATIONS: dict[str, Initialisation] = {
    "least-squares": Initialisation(_fitted, channels="greedy", most_held=MOST_HELD),
    "selection": Initialisation(_selected, channels="l1"),
    "kaiming": Initialisation(_drawn, channels=None),
}
