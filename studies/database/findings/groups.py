"""What a study keeps of its network's channel groups: their full widths, what they cost, how sensitive they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import optuna

from ..tables.names import GROUPS

# The shares of a group's channels at which its sensitivity is kept.
SENSITIVITY_AT = (0.25, 0.5, 0.75)


class GroupRecord(NamedTuple):
    """A channel group that can be narrowed.

    Attributes:
        name: of the group.
        width: its channels in the full network.
        resolution: its height and width, or fewer dimensions.
        saves: share of all MACs that go when it keeps half of its channels.
        errors: share of what its readers make of it that the best channels leave unexplained, at each of
            `SENSITIVITY_AT`; empty where that was not measured.
    """

    name: str
    width: int
    resolution: tuple[int, ...]
    saves: float
    errors: tuple[float, ...] = ()

    @property
    def sensitivity(self) -> float | None:
        """The error at half of the channels."""
        return self.errors[SENSITIVITY_AT.index(0.5)] if self.errors else None


def record_groups(study: optuna.Study, groups: Iterable[GroupRecord]) -> None:
    """Keeps the groups with the study, in the order of the network's forward."""
    study.set_user_attr(GROUPS, [group._asdict() for group in groups])


def groups_of(study: optuna.Study) -> dict[str, GroupRecord]:
    """The groups that the study keeps, by name; none of a study of an earlier version."""
    kept: list[dict[str, Any]] = study.user_attrs.get(GROUPS, [])
    found = (GroupRecord(**{**each, **{k: tuple(each[k]) for k in ("resolution", "errors")}}) for each in kept)
    return {group.name: group for group in found}
