"""The tables of docs/schedules.md: where a schedule was ahead of folding at once, from benchmarks/map.json."""

from typing import Any

from branchfold.benchmarks.map_parts.arms import AT_ONCE, SCHEDULE
from branchfold.docs.generate.measurements import read
from branchfold.studies.statistics import SIGNIFICANCE


def cells() -> list[str]:
    """A row for each finished cell."""
    lines = [
        "| run's length | MACs | images | branches | a schedule | at once | difference | p | visible | baselines |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in read("map")["cells"]:
        cell, means = row["cell"], {arm: f"{100 * found['mean']:.1f} %" for arm, found in row["arms"].items()}
        apart = f"{100 * row['difference']:+.2f} ± {100 * row['half_width']:.2f}".replace("-", "−")
        if row["p_holm"] < SIGNIFICANCE:
            apart = f"**{apart}**"
        lines.append(
            f"| {_length(cell)} | {100 * cell['budget']:g} % | {cell['images']:,} | {cell['branches']} | "
            f"{means[SCHEDULE]} | {means[AT_ONCE]} | {apart} | {row['p_holm']:.2g} | "
            f"{100 * row['visible']:.1f} | {len(row['baselines'])} |"
        )
    return lines


def winners() -> list[str]:
    """What won in each finished cell, and what a run of it took."""
    lines = ["| cell | arm | winner | compute | steps |", "| --- | --- | --- | --- | --- |"]
    for row in read("map")["cells"]:
        cell = row["cell"]
        name = f"{_length(cell)}, {100 * cell['budget']:g} %, {cell['images']:,}, {cell['branches']}"
        for arm, found in row["arms"].items():
            told = f"{found['compute']:.2f} | {found['steps']:,.0f} |"
            lines.append(f"| {name} | {arm} | {_choice(found['winner'])} | {told}")
    return lines


def _length(cell: dict[str, Any]) -> str:
    return f"{cell['length']:g} epochs of compute" if cell["currency"] == "compute" else f"{cell['length']:g} passes"


def _choice(choice: dict[str, Any]) -> str:
    taught = f"distillation {choice['distillation']:g}" if choice["distillation"] else "no distillation"
    parts = [f"lr {choice['lr']:g}", choice["augment"], taught]
    if "shape" in choice:
        own = "".join(f", {name} {value:.3g}" for name, value in choice["parameters"].items())
        stages = f"{choice['stages']} stages {choice['order']}" if choice["stages"] > 1 else "1 stage"
        parts += [f"{choice['shape']}{own} over {choice['fade']:g} of the run", stages, choice["blending"]]
    return ", ".join(parts)
