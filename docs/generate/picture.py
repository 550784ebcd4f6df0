"""Draws the README's picture, light and dark: test accuracy against cost, found by search and made by hand.

python docs/generate/picture.py           needs `pip install -e '.[docs]'` and a Chromium

What is drawn comes from benchmarks/recipes-*.json.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from branchfold.docs.generate.measurements import RECIPES, SETTINGS, setting

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
# Okabe and Ito's palette, which colour-blind people tell apart; the marker tells the series in print.
STYLES = {
    "searched": ("#D55E00", "star"),
    "torch-pruning-l1": ("#0072B2", "square"),
    "fold-at-once": ("#009E73", "circle"),
    "scratch": ("#CC79A7", "diamond"),
    "report": ("#999999", "x"),
}
THEMES = {"light": ("#ffffff", "#1f2328", "#d0d7de"), "dark": ("#0d1117", "#e6edf3", "#30363d")}


class Point(NamedTuple):
    """A network's share of the baseline's MACs, its test accuracy in percent, and the deviation between seeds."""

    cost: float
    accuracy: float
    deviation: float


def points() -> tuple[Point, dict[str, list[Point]]]:
    """The baseline, and each recipe's networks at the budgets measured."""
    found: dict[str, list[Point]] = {name: [] for name in STYLES}
    for name in SETTINGS:
        measured = setting(name)
        for recipe, drawn in found.items():
            row = measured["rows"][recipe]
            drawn.append(Point(100 * measured["macs_share"], 100 * row["mean"], 100 * row["stdev"]))
    return Point(100, 100 * setting(SETTINGS[0])["baseline"], 0), found


def picture(theme: str) -> go.Figure:
    """The figure in one of `THEMES`."""
    paper, ink, grid = THEMES[theme]
    baseline, found = points()
    figure = go.Figure()
    for name, (colour, symbol) in STYLES.items():
        drawn = found[name]
        figure.add_scatter(
            x=[point.cost for point in drawn],
            y=[point.accuracy for point in drawn],
            error_y={"array": [point.deviation for point in drawn], "thickness": 1},
            mode="lines+markers",
            name=RECIPES[name],
            line={"color": colour, "width": 1.5, "dash": "solid" if name == "searched" else "dot"},
            marker={"color": colour, "symbol": symbol, "size": 13 if name == "searched" else 10},
        )
    figure.add_hline(
        y=baseline.accuracy,
        line={"color": ink, "dash": "dash", "width": 1},
        annotation={"text": f"baseline, {baseline.accuracy:.1f} %", "font": {"color": ink}},
    )
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False, "ticksuffix": " %"}
    figure.update_layout(
        width=900,
        height=520,
        margin={"l": 70, "r": 20, "t": 20, "b": 140},
        paper_bgcolor=paper,
        plot_bgcolor=paper,
        font={"color": ink, "size": 14, "family": "sans-serif"},
        xaxis={**axis, "title": "multiply-accumulates, share of the baseline's", "range": [8, 53]},
        yaxis={**axis, "title": "test accuracy", "range": [28, 92]},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "entrywidth": 400},
    )
    return figure


def write(name: str, draw: Callable[[str], go.Figure]) -> None:
    """Writes a figure in both themes as SVG.

    Args:
        name: that the files' begin with.
        draw: makes the figure in one of `THEMES`.
    """
    FOLDER.mkdir(exist_ok=True)
    for theme in THEMES:
        path = FOLDER / f"{name}-{theme}.svg"
        draw(theme).write_image(path)
        print(path)


if __name__ == "__main__":
    write("accuracy", picture)
