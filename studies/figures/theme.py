"""What all figures share: colours that colour-blind people tell apart and that print, axes, light and dark."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import plotly.graph_objects as go

from ..metric import Metric

Theme = Literal["light", "dark"]

# Okabe and Ito's palette (2008).
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, GREY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#999999",
)
SERIES = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
# From the worst quarter of the trials to the best: also told by their lightness and the lines' widths.
QUARTERS = (
    ("worst quarter", "#b5b5b5", 1.0),
    ("third", SKY, 1.2),
    ("second", BLUE, 1.5),
    ("best quarter", VERMILION, 2.2),
)
_PAPER = {"light": "#ffffff", "dark": "#0d1117"}
_INK = {"light": "#1f2328", "dark": "#e6edf3"}
_GRID = {"light": "#e3e6ea", "dark": "#30363d"}
# Seen on both papers.
REFERENCE = "#7a7f87"


def template(theme: Theme) -> go.layout.Template:
    """The colours of a theme; the rest of a figure is the same in both."""
    axis = {"gridcolor": _GRID[theme], "linecolor": _GRID[theme], "zerolinecolor": _GRID[theme], "zeroline": False}
    return go.layout.Template(
        layout={
            "paper_bgcolor": _PAPER[theme],
            "plot_bgcolor": _PAPER[theme],
            "font": {"color": _INK[theme], "family": "system-ui, sans-serif", "size": 13},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"bgcolor": "rgba(0,0,0,0)"},
            "hoverlabel": {"bgcolor": _PAPER[theme], "font": {"color": _INK[theme]}, "align": "left"},
            "colorway": list(SERIES),
        }
    )


def new_figure(*, x: str | None = None, y: str | None = None, height: int = 380, theme: Theme = "light") -> go.Figure:
    """An empty figure.

    Args:
        x: title of the axis, with its unit.
        y: likewise.
        height: in pixels.
        theme: "light" or "dark".
    """
    return dressed(go.Figure(layout={"template": template(theme)}), x=x, y=y, height=height)


def dressed(figure: go.Figure, *, x: str | None = None, y: str | None = None, height: int = 380) -> go.Figure:
    """A figure with the layout that all have."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 10, "b": 8},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    if x is not None:
        figure.update_xaxes(title={"text": x, "standoff": 8})
    if y is not None:
        figure.update_yaxes(title={"text": y, "standoff": 8})
    return figure


def themed(figure: go.Figure, theme: Theme) -> go.Figure:
    """The same figure in another theme."""
    return go.Figure(figure).update_layout(template=template(theme))


def shown(metric: Metric, value: float) -> float:
    """A value of a metric as axes have it: in percent where it is a share."""
    return 100 * value if metric.unit == "%" else value


def axis_title(metric: Metric, what: str = "") -> str:
    """A metric as the title of an axis, "validation accuracy (%)"."""
    return f"{what} {metric.name}{f' ({metric.unit})' if metric.unit else ''}".strip()


def safe(text: str) -> str:
    """Text that Plotly shows as it is: it takes some HTML for its own."""
    return html.escape(text, quote=False)


def quarter(rank: int, count: int) -> int:
    """The index in `QUARTERS` of one of `count`, 0 being the best."""
    return len(QUARTERS) - 1 - min(len(QUARTERS) - 1, len(QUARTERS) * rank // max(count, 1))


def compact(figure: go.Figure) -> str:
    """A figure as JSON, its numbers to five digits."""
    return json.dumps(_rounded(figure.to_plotly_json()), separators=(",", ":"), ensure_ascii=False)


def gapped(lines: Sequence[Sequence[Any]]) -> list[Any]:
    """Several lines as one, with gaps between."""
    return [value for line in lines for value in (*line, None)]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
