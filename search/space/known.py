"""Known recipes, which a study tries first: as values of the parameters that its space has."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FixedTrial

from ...studies.definition.dimensions import Choices, Dimension, Fixed, Range
from .proposal import SearchSpace

# The one that a search begins with and must not lose to: at equal shares it is always tried, and always a finalist.
REFERENCE = "fold-at-once"
# What a recipe cannot do without; a space without room for it leaves the recipe out.
_ESSENTIAL = ("schedule.shape", "blending.mode")

RECIPES: dict[str, dict[str, Any]] = {
    # Least-squares branches folded before the first step, then fine-tuned: on the images as they are, which is best in
    # short trials (benchmarks/recipes-*.json).
    "fold-at-once": {
        "schedule.shape": "instant",
        "initialisation.method": "least-squares",
        "training.lr": 0.02,
        "training.augment": False,
        "training.distillation": 0.0,
    },
    # The same, taught by the baseline on mirrored images at a higher rate, which is best in long trials.
    "taught": {
        "schedule.shape": "instant",
        "initialisation.method": "least-squares",
        "training.lr": 0.05,
        "training.augment": "flip",
        "training.distillation": 0.5,
    },
    # Each example hears the original or the branch, so that every branch learns to be heard alone.
    "probability": {
        "schedule.shape": "linear",
        "schedule.fade": 0.5,
        "blending.mode": "probability",
        "initialisation.method": "least-squares",
        "stages.count": 1,
        "training.lr": 0.05,
        "training.distillation": 0.0,
    },
    # The report's: random branches, α = 0.9, 0.8, … 0 over the whole trial.
    "report": {
        "schedule.shape": "step",
        "schedule.step.steps": 10,
        "schedule.fade": 1.0,
        "blending.mode": "convex",
        "initialisation.method": "kaiming",
        "stages.count": 1,
        "training.lr": 0.01,
        "training.restarts": "none",
    },
}


def known_recipes(space: SearchSpace, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The recipes of these names as parameters of the space, all groups keeping the same share.

    A value outside its range becomes the nearest one inside; one that is not among the choices is left to the sampler.
    """
    dimensions = space.dimensions()
    found = {}
    for name in names:
        wanted = RECIPES[name]
        if all(key not in wanted or fits(wanted[key], dimensions[key]) for key in _ESSENTIAL):
            found[name] = {**_placed(wanted, dimensions), **uniform_shares(space)}
    return found


def uniform_shares(space: SearchSpace) -> dict[str, Any]:
    """The parameters that decide the widths, so that all groups keep the same share."""
    dimensions = space.keep_dimensions()
    keep = space.table.keep
    alike = dict.fromkeys(dimensions, _middle(keep.range))
    level = {"keep.threshold": _middle(keep.threshold), "keep.strength": 0.0, "keep.tilt": 0.0}
    return _placed({**alike, **level}, dimensions)


def equal_widths(space: SearchSpace) -> dict[str, Any]:
    """`uniform_shares` as they mean the same widths where the shares' ranges are those that screening left.

    With a parameter for each group that is the shares which remain after scaling to the budget, as it is for
    screening's own starts.
    """
    shares = uniform_shares(space)
    if not shares or space.table.keep.per != "layer":
        return shares
    return dict(space.shares_of(space.propose_widths(FixedTrial(shares))))


def fits(value: Any, dimension: Dimension) -> bool:
    """Whether a dimension can take the value."""
    if isinstance(dimension, Fixed):
        return bool(value == dimension.value)
    if isinstance(dimension, Choices):
        return value in dimension.values
    return bool(dimension.low <= value <= dimension.high)


def _placed(wanted: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> dict[str, Any]:
    """The wanted values that are proposed at all, each within its dimension."""
    placed = {}
    for key, value in wanted.items():
        dimension = dimensions.get(key)
        if isinstance(dimension, Range):
            placed[key] = _on_grid(min(max(value, dimension.low), dimension.high), dimension)
        elif isinstance(dimension, Choices) and value in dimension.values:
            placed[key] = value
    return placed


def _on_grid(value: float, dimension: Range) -> float:
    if dimension.step is None:
        return round(value) if dimension.is_integer else float(value)
    return dimension.low + round((value - dimension.low) / dimension.step) * dimension.step


def _middle(dimension: Dimension) -> Any:
    """A value in a range's middle: of shares scaled to a budget, all alike mean all groups alike."""
    if isinstance(dimension, Range):
        return (dimension.low + dimension.high) / 2
    return dimension.value if isinstance(dimension, Fixed) else dimension.values[0]
