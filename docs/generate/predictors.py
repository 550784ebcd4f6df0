"""What predicts trained accuracy, from benchmarks/predictors.json: a table, and a picture in light and dark.

python docs/generate/predictors.py        draws it; needs `pip install -e '.[docs]'` and a Chromium
"""

from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from branchfold.docs.generate.measurements import read
from branchfold.docs.generate.picture import THEMES, write

SUBJECTS = {
    "cifar10": "VGG-16, CIFAR-10",
    "fashion-mnist": "VGG-16, Fashion-MNIST",
    "resnet20": "ResNet-20, CIFAR-10",
}
# The rows of the table.
_SHOWN = (
    "untrained loss",
    "untrained accuracy",
    "untrained, divergence from the baseline",
    "untrained, squared distance of logits",
    "untrained loss, a quarter of the calibration images",
    "untrained loss on the calibration images",
    "untrained loss + 0.3 × unevenness",
    "untrained loss + 1 × unevenness",
    "unevenness",
    "parameters",
    "loss after 15 steps",
    "loss after 40 steps",
    "accuracy after 40 steps",
    "divergence after 40 steps",
)
_KINDS = {"equal": ("#D55E00", "star"), "half-way": ("#009E73", "circle"), "other": ("#0072B2", "square")}


class Point(NamedTuple):
    """A candidate: its loss untrained, its accuracy trained, in percent, and its kind."""

    loss: float
    accuracy: float
    kind: str


def predictors() -> list[str]:
    """Each predictor's rank correlation with its interval, and what its pick is worth."""
    found = subjects()
    lines = []
    for name in _SHOWN:
        cells = [_cell(subject["predictors"][name]) for subject in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    head = " | ".join(f"{SUBJECTS[name]} | pick" for name in found)
    return [f"| predictor | {head} |", "| --- |" + " --- |" * (2 * len(found)), *lines]


def subjects() -> dict[str, Any]:
    """What was measured, subject by subject, in the table's order."""
    measured = read("predictors")["subjects"]
    return {name: measured[name] for name in SUBJECTS if name in measured}


def points(subject: dict[str, Any]) -> list[Point]:
    """What is drawn of a subject."""
    return [
        Point(
            row["untrained_loss"],
            100 * sum(row["trained"]) / len(row["trained"]),
            "equal" if row["origin"] == "equal shares" else "half-way" if "to the" in row["origin"] else "other",
        )
        for row in subject["candidates"]
    ]


def picture(theme: str) -> go.Figure:
    """Trained accuracy over untrained loss, a panel for each subject."""
    paper, ink, grid = THEMES[theme]
    found = subjects()
    titles = [f"{SUBJECTS[name]} (ρ = {_spearman(subject):.2f})" for name, subject in found.items()]
    figure = make_subplots(1, len(found), subplot_titles=titles, horizontal_spacing=0.09)
    names = {"equal": "equal shares", "half-way": "between equal shares and a proposal", "other": "proposed, or random"}
    for column, subject in enumerate(found.values(), 1):
        for kind, (colour, symbol) in _KINDS.items():
            drawn = [point for point in points(subject) if point.kind == kind]
            figure.add_scatter(
                x=[point.loss for point in drawn],
                y=[point.accuracy for point in drawn],
                mode="markers",
                name=names[kind],
                showlegend=column == 1,
                marker={"color": colour, "symbol": symbol, "size": 12 if kind == "equal" else 9},
                row=1,
                col=column,
            )
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False}
    figure.update_xaxes(title="validation loss, untrained", **axis)
    figure.update_yaxes(ticksuffix=" %", **axis)
    figure.update_yaxes(title="accuracy, trained", row=1, col=1)
    figure.update_layout(
        width=1000,
        height=400,
        margin={"l": 70, "r": 20, "t": 40, "b": 100},
        paper_bgcolor=paper,
        plot_bgcolor=paper,
        font={"color": ink, "size": 13, "family": "sans-serif"},
        legend={"orientation": "h", "y": -0.25, "yanchor": "top"},
    )
    return figure


def _cell(found: dict[str, float]) -> str:
    ranks = f"{found['spearman']:.2f} ({found['low']:.1f} to {found['high']:.1f}) / {found['spearman_of_loss']:.2f}"
    return f"{ranks} | {100 * found['over_equal']:+.1f}"


def _spearman(subject: dict[str, Any]) -> float:
    return float(subject["predictors"]["untrained loss"]["spearman"])


if __name__ == "__main__":
    write("predictors", picture)
