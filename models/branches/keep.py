"""How many channels of each group stay: from a user's `keep` to widths."""

import difflib
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

from ...errors import NetworkError
from ..channels.groups import ChannelGroup

Keep = float | Mapping[str, float]


def kept_widths(groups: Sequence[ChannelGroup], keep: Keep, multiple: int = 1) -> dict[str, int]:
    """The width of every group that is to be narrowed; groups that stay whole are left out.

    Args:
        groups: the network's channel groups.
        keep: a share in (0, 1] for every group that can be narrowed, or {group name: share, or a channel count above
            1 given as an int}; groups that are not named stay whole. 1 leaves a group alone.
        multiple: shares give the nearest multiple of this many channels, at least one; counts are taken as they are.

    Raises:
        NetworkError: if a name is unknown, a named group is fixed, or a value is out of range.
    """
    if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
        raise NetworkError(f"multiple must be a whole number of at least 1, but got multiple={multiple!r}")
    if not isinstance(keep, Mapping):
        width_of = {group.name: _width(group, keep, multiple) for group in groups if group.prunable}
    else:
        by_name = {group.name: group for group in groups}
        width_of = {}
        for name, value in keep.items():
            group = by_name.get(name)
            if group is None:
                near = difflib.get_close_matches(str(name), by_name, n=1) or list(by_name)[:1]
                raise NetworkError(f"no channel group is called {name!r}; did you mean {', '.join(map(repr, near))}?")
            width_of[name] = _width(group, value, multiple)
            if not group.prunable and width_of[name] < group.width:
                raise NetworkError(f"group {name!r} cannot be narrowed: {group.reason}")
    whole = {group.name: group.width for group in groups}
    return {name: width for name, width in width_of.items() if width < whole[name]}


def rounded_width(exact: float, full: int, multiple: int = 1) -> int:
    """The multiple of channels nearest to `exact`, at least one multiple and at most all `full` channels."""
    return min(full, max(1, round(exact / multiple)) * multiple)


def _width(group: ChannelGroup, value: float, multiple: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise NetworkError(f"keep must be a number, but got {value!r} for group {group.name!r}")
    if isinstance(value, Integral) and value > 1:
        if value > group.width:
            raise NetworkError(f"group {group.name!r} has {group.width} channels, but got keep={value}")
        return int(value)
    if not 0 < value <= 1:
        raise NetworkError(f"keep must be in (0, 1] or a channel count, but got keep={value} for group {group.name!r}")
    return group.width if value == 1 else rounded_width(value * group.width, group.width, multiple)
