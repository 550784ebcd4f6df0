"""Small figures of a trial as SVG, which a note can show: what Plotly draws takes a page with its library.

They stand on white, as the dashboard may be light or dark, and have the colours of the other figures.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence

from ..figures.theme import BLUE, ORANGE, REFERENCE, VERMILION
from ..metric import Metric
from ..tables.milestones import Milestone
from ..tables.widths import WidthRow

# Pixels.
_WIDTH, _LEFT, _RIGHT = 640, 64, 12
_TOP, _PANEL, _GAP, _BOTTOM = 26, 150, 18, 40
# More groups have no room for their names.
_MOST_NAMES = 24
_INK, _GRID = "#1f2328", "#e3e6ea"


def course_svg(milestones: Sequence[Milestone], metric: Metric, baseline: float | None) -> str | None:
    """A trial's metric at α = 0 and at its α over its compute, and α below; None of fewer than two milestones."""
    known = [m for m in milestones if m.compute is not None and m.folded_metric is not None]
    if len(known) < 2:
        return None
    compute = [m.compute or 0.0 for m in known]
    folded = [m.folded_metric or 0.0 for m in known]
    blended = [(m.compute or 0.0, m.metric) for m in known if m.metric is not None]
    values = [*folded, *(value for _, value in blended), *([] if baseline is None else [baseline])]
    across = _Axis(0.0, max(compute) or 1.0, _LEFT, _WIDTH - _RIGHT)
    above = _Axis.around(values, _TOP + _PANEL, _TOP)
    below = _Axis(0.0, 1.0, _TOP + 1.5 * _PANEL + _GAP, _TOP + _PANEL + _GAP)
    parts = [*_ticks(above, metric.text), *_ticks(below, "{:.1f}".format, steps=2)]
    if baseline is not None:
        parts.append(_line([(across.low, baseline), (across.high, baseline)], across, above, REFERENCE, "4 3"))
    parts.append(_line(blended, across, above, ORANGE, "2 3"))
    parts.append(_line(list(zip(compute, folded, strict=True)), across, above, VERMILION))
    alphas = [(m.compute or 0.0, m.alpha) for m in known if m.alpha is not None]
    parts += [_line(alphas, across, below, BLUE), *_feet(across, below.start)]
    names = [(VERMILION, f"{metric.name} at α = 0"), (ORANGE, "at its α"), (BLUE, "α")]
    names += [] if baseline is None else [(REFERENCE, "baseline")]
    height = int(below.start) + _BOTTOM
    parts.append(_text(_LEFT, height - 8, "compute (epochs of the baseline's training)"))
    return _document(height, [*_legend(names), *parts])


def widths_svg(rows: Sequence[WidthRow]) -> str | None:
    """A trial's channels, group by group, beside each group's sensitivity; None where the full ones are not known."""
    if not rows or any(row.share is None for row in rows):
        return None
    named = len(rows) <= _MOST_NAMES
    up = _Axis(0.0, 1.0, _TOP + _PANEL, _TOP)
    room = (_WIDTH - _LEFT - _RIGHT) / len(rows)
    parts = _ticks(up, lambda share: f"{100 * share:.0f} %")
    for index, row in enumerate(rows):
        x, share = _LEFT + index * room, row.share or 0.0
        told = f"{row.group}: {row.width} of {row.full} channels"
        parts.append(_box(x + 0.12 * room, up.at(share), 0.76 * room, up.start - up.at(share), BLUE, told))
        if row.sensitivity is not None:
            y = up.at(min(1.0, row.sensitivity))
            parts.append(_stroke(x + 0.06 * room, y, x + 0.94 * room, y, VERMILION, 2))
        if named:
            middle = x + room / 2
            parts.append(_text(middle, up.at(share) - 4, str(row.width), anchor="middle", size=10))
            name = row.group if len(row.group) <= _MOST_NAMES else f"…{row.group[1 - _MOST_NAMES :]}"
            parts.append(_text(middle + 3, up.start + 12, name, anchor="end", size=10, turn=-40))
    height = int(up.start) + (110 if named else _BOTTOM)
    known = any(row.sensitivity is not None for row in rows)
    names = [(BLUE, "channels kept"), *([(VERMILION, "sensitivity: error at half of them")] if known else [])]
    return _document(height, [*_legend(names), *parts])


class _Axis:
    """Values from `low` to `high`, at pixels from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        """An axis that has some room around its values."""
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _document(height: int, parts: Iterable[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{inside}\n</svg>\n'
    )


def _ticks(axis: _Axis, told: Callable[[float], str], steps: int = 4) -> list[str]:
    parts = []
    for step in range(steps + 1):
        value = axis.low + (axis.high - axis.low) * step / steps
        y = axis.at(value)
        parts.append(_stroke(_LEFT, y, _WIDTH - _RIGHT, y, _GRID, 1))
        parts.append(_text(_LEFT - 6, y + 4, told(value), anchor="end"))
    return parts


def _feet(axis: _Axis, y: float) -> list[str]:
    places = [axis.low + (axis.high - axis.low) * step / 4 for step in range(5)]
    return [_text(axis.at(place), y + 14, f"{place:.3g}", anchor="middle") for place in places]


def _legend(names: Sequence[tuple[str, str]]) -> list[str]:
    parts, x = [], float(_LEFT)
    for colour, name in names:
        parts += [_stroke(x, 12, x + 16, 12, colour, 3), _text(x + 21, 16, name)]
        x += 34 + 6.3 * len(name)
    return parts


def _line(points: Sequence[tuple[float, float]], across: _Axis, up: _Axis, colour: str, dash: str = "") -> str:
    places = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'


def _stroke(x: float, y: float, to_x: float, to_y: float, colour: str, width: int) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _box(x: float, y: float, width: float, height: float, colour: str, told: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}"><title>{_safe(told)}</title></rect>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, turn: int = 0) -> str:
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{_INK}" text-anchor="{anchor}"{turned}>'
        f"{_safe(text)}</text>"
    )


def _safe(text: str) -> str:
    """Text that XML may hold."""
    return html.escape("".join(character if character.isprintable() else "?" for character in text))
