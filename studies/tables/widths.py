"""The table of widths: how many channels of each group stay in a trial's network."""

from __future__ import annotations

from typing import NamedTuple

from optuna.trial import FrozenTrial

from .study import StudyView


class WidthRow(NamedTuple):
    """A group of a trial's network; None is not known.

    Attributes:
        group: its name.
        width: channels that stay.
        full: of so many.
        share: that is of them.
        sensitivity: share of what its readers make of it that the best half of its channels leave unexplained.
        saves: share of all MACs that go when it keeps half of its channels.
        resolution: its height and width, or fewer dimensions; empty where it is not known.
    """

    group: str
    width: int
    full: int | None
    share: float | None
    sensitivity: float | None
    saves: float | None
    resolution: tuple[int, ...]


def width_rows(view: StudyView, trial: FrozenTrial) -> list[WidthRow]:
    """A row for each group that can be narrowed, in the order of the network's forward; none without a recipe."""
    recipe = view.recipe(trial)
    widths: dict[str, int] = {} if recipe is None else recipe["widths"]
    rows = []
    for name, width in widths.items():
        group = view.groups.get(name)
        rows.append(
            WidthRow(
                group=name,
                width=width,
                full=None if group is None else group.width,
                share=None if group is None else width / group.width,
                sensitivity=None if group is None else group.sensitivity,
                saves=None if group is None else group.saves,
                resolution=() if group is None else group.resolution,
            )
        )
    return rows
