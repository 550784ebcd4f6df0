"""The map as a picture: every cell of the plan, blank where nothing was run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from branchfold.benchmarks.map_parts.cells import BRANCHES, BUDGETS, COMPUTE, EPOCHS, FEW, IMAGES, Cell
from branchfold.studies.statistics import SIGNIFICANCE

# Crameri's "vik" at a few places: blue and brown, told apart by colour-blind people, pale where nothing differs.
_COLOURS = [[0.0, "#02508b"], [0.25, "#7fa9c6"], [0.5, "#f4f2ee"], [0.75, "#d9a88a"], [1.0, "#9c3c0e"]]
# The scale ends at so many points at least.
_LEAST_SCALE = 2.0
_BUDGETS = [f"{100 * budget:g} %" for budget in BUDGETS]
_INK, _GRID = "#1f2328", "#c9ced6"


class Panel(NamedTuple):
    """One heat map: cells with the same images, branches and currency."""

    title: str
    currency: str
    lengths: tuple[float, ...]
    images: int
    branches: str

    def cell(self, budget: float, length: float) -> Cell:
        """One of its cells."""
        return Cell(self.currency, length, budget, self.images, self.branches)


def panels() -> list[Panel]:
    """All, row by row."""
    found = []
    for branches in BRANCHES:
        told = "random branches" if branches == "random" else "least squares"
        found += [Panel(f"{told}, {n:,} images", "compute", COMPUTE, n, branches) for n in IMAGES]
        found.append(Panel(f"{told}, {FEW:,} images", "epochs", EPOCHS, FEW, branches))
    return found


def texts(panel: Panel, rows: Mapping[Cell, Mapping[str, Any]]) -> list[list[str]]:
    """What stands in each cell of a panel, points ± half-width, with a star where Holm's correction leaves it sure."""
    return [[_text(rows.get(panel.cell(budget, length))) for length in panel.lengths] for budget in BUDGETS]


def _text(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    star = " *" if row["p_holm"] < SIGNIFICANCE else ""
    return f"{100 * row['difference']:+.1f}{star}<br>± {100 * row['half_width']:.1f}".replace("-", "−")


def picture(published: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The figure.

    Args:
        published: the rows of benchmarks/map.json.
    """
    rows = {Cell(**row["cell"]): row for row in published}
    most = max([_LEAST_SCALE, *(abs(100 * row["difference"]) for row in published)])
    drawn = panels()
    width = len(drawn) // len(BRANCHES)
    figure = make_subplots(
        len(BRANCHES),
        width,
        subplot_titles=[panel.title for panel in drawn],
        column_widths=[*[len(COMPUTE)] * len(IMAGES), len(EPOCHS) + 0.4],
        horizontal_spacing=0.035,
        vertical_spacing=0.2,
    )
    for i, panel in enumerate(drawn):
        place = {"row": i // width + 1, "col": i % width + 1}
        figure.add_trace(_heat(panel, rows), **place)
        unit = "epochs of compute" if panel.currency == "compute" else "passes"
        figure.update_xaxes(title={"text": unit, "standoff": 4}, **_scale([f"{x:g}" for x in panel.lengths]), **place)
        figure.update_yaxes(showticklabels=i % width == 0, **_scale(_BUDGETS), **place)
    figure.update_yaxes(title="MACs that stay", col=1)
    figure.update_xaxes(showgrid=False, showline=True, linecolor=_GRID, mirror=True)
    figure.update_yaxes(showgrid=False, showline=True, linecolor=_GRID, mirror=True)
    figure.update_annotations(font={"size": 13})
    return figure.update_layout(
        width=1180,
        height=620,
        # One scale for all panels, shown also where the first of them is empty.
        coloraxis={
            "cmin": -most,
            "cmax": most,
            "colorscale": _COLOURS,
            "colorbar": {"title": {"text": "points"}, "thickness": 12},
        },
        margin={"l": 70, "r": 20, "t": 40, "b": 60},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        font={"color": _INK, "size": 12, "family": "sans-serif"},
    )


def _scale(names: Sequence[str]) -> dict[str, Any]:
    """An axis with a place for every name, also for those at which nothing was run."""
    return {"type": "category", "categoryarray": list(names), "range": [-0.5, len(names) - 0.5]}


def _heat(panel: Panel, rows: Mapping[Cell, Mapping[str, Any]]) -> go.Heatmap:
    values = [
        [None if (row := rows.get(panel.cell(b, n))) is None else 100 * row["difference"] for n in panel.lengths]
        for b in BUDGETS
    ]
    return go.Heatmap(
        x=[f"{length:g}" for length in panel.lengths],
        y=_BUDGETS,
        z=values,
        text=texts(panel, rows),
        texttemplate="%{text}",
        textfont={"size": 11},
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        hoverongaps=False,
    )
