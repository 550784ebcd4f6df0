"""How many channels of each group stay: a user's `keep` as widths, and widths that fit the groups."""

from collections.abc import Mapping, Sequence
from math import lcm
from numbers import Integral, Real

from ...errors import NetworkError, nearest
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
        return fitting_widths(groups, {g.name: _width(g, keep, multiple) for g in groups if g.prunable})
    return fitting_widths(groups, {name: _width(_named(groups, name), value, multiple) for name, value in keep.items()})


def fitting_widths(groups: Sequence[ChannelGroup], widths: Mapping[str, int]) -> dict[str, int]:
    """The widths of the groups that are to be narrowed, without those that stay whole.

    Args:
        groups: the network's channel groups.
        widths: group name → channels, from 1 to all that the group has; groups that are not named stay whole.

    Raises:
        NetworkError: if a name is unknown, a width is out of range, or a fixed group would be narrowed.
    """
    narrower: dict[str, int] = {}
    for name, width in widths.items():
        group = _named(groups, name)
        if isinstance(width, bool) or not isinstance(width, Integral) or not 1 <= width <= group.width:
            raise NetworkError(
                f"group {name!r} has {group.width} channels: its width must be from 1 to that, but got {width!r}"
            )
        if width < group.width:
            if not group.prunable:
                raise NetworkError(f"group {name!r} cannot be narrowed: {group.reason}")
            if width % group.blocks:
                raise NetworkError(_between_blocks(group, width))
            narrower[name] = int(width)
    return narrower


def _named(groups: Sequence[ChannelGroup], name: str) -> ChannelGroup:
    by_name = {group.name: group for group in groups}
    if name not in by_name:
        known = nearest(str(name), by_name) or f"; there are {', '.join(by_name) or 'none'}"
        raise NetworkError(f"no channel group is called {name!r}{known}")
    return by_name[name]


def _between_blocks(group: ChannelGroup, width: int) -> str:
    below = width // group.blocks * group.blocks
    nearby = f"{below} or {below + group.blocks}" if below else f"{group.blocks}"
    return (
        f"group {group.name!r} lies in {group.blocks} blocks, which keep as many channels each: its width must be a "
        f"multiple of that, such as {nearby}, but got {width}"
    )


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
    return group.width if value == 1 else rounded_width(value * group.width, group.width, lcm(multiple, group.blocks))
