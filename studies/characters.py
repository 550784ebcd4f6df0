"""Bars and small charts of characters, plain where the terminal cannot show more."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "_.-=*#"


def bar(share: float, width: int = 20, *, blocks: bool = True) -> str:
    """A bar as long as a share of `width` characters, to an eighth of one; "#" without block characters."""
    share = min(max(share, 0.0), 1.0)
    if not blocks:
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    rest = _EIGHTHS[eighths % 8].strip()
    return "█" * (eighths // 8) + rest


def sparkline(
    values: Sequence[float], *, low: float | None = None, high: float | None = None, blocks: bool = True
) -> str:
    """A character for each value, higher for a larger one.

    Args:
        values: to show.
        low: what is shown lowest; the least value if not given.
        high: what is shown highest; the largest value if not given.
        blocks: whether there are block characters.
    """
    if not values:
        return ""
    levels = _LEVELS if blocks else _PLAIN_LEVELS
    least = min(values) if low is None else low
    span = (max(values) if high is None else high) - least
    if span <= 0:
        return levels[len(levels) // 2] * len(values)
    places = (min(max((value - least) / span, 0.0), 1.0) for value in values)
    return "".join(levels[round(place * (len(levels) - 1))] for place in places)
