"""The cells of the map: how much of a network may stay, how long it trains, on how many images, from which branches."""

from itertools import product
from typing import NamedTuple

BUDGETS = (0.05, 0.12, 0.25, 0.5)
COMPUTE = (0.3, 1.0, 3.0, 10.0)
IMAGES = (2_000, 10_000, 45_000)
BRANCHES = ("least-squares", "random")
# Of the second map, in passes over its images.
EPOCHS = (20, 80)
FEW = 2_000
# `branchfold.models` calls them so.
METHODS = {"least-squares": "least-squares", "random": "kaiming"}


class Cell(NamedTuple):
    """One question: which arm is ahead here?

    Attributes:
        currency: "compute", in epochs of the baseline's training on all images, or "epochs", passes over the images.
        length: of a run, in that currency.
        budget: share of the baseline's MACs that stays.
        images: that pruning may train on.
        branches: how they begin; in `BRANCHES`.
    """

    currency: str
    length: float
    budget: float
    images: int
    branches: str

    def __str__(self) -> str:
        return f"{self.length:g} {self.currency}, {100 * self.budget:g} % MACs, {self.images} images, {self.branches}"


def plan() -> list[Cell]:
    """Every cell of both maps."""
    first = [Cell("compute", *cell) for cell in product(COMPUTE, BUDGETS, IMAGES, BRANCHES)]
    second = [
        Cell("epochs", epochs, budget, FEW, branches) for epochs, budget, branches in product(EPOCHS, BUDGETS, BRANCHES)
    ]
    return first + second


def queue() -> list[Cell]:
    """The plan in the order of what a cell may tell: where a schedule has the best chance, corners, the rest.

    Schedules were expected to pay where images are few, next to nothing stays, or branches are random.
    """
    first = [
        Cell("epochs", 20, 0.05, FEW, "least-squares"),
        Cell("epochs", 20, 0.05, FEW, "random"),
        Cell("compute", 0.3, 0.5, 2_000, "random"),
        Cell("compute", 0.3, 0.05, 2_000, "random"),
        Cell("compute", 0.3, 0.05, 2_000, "least-squares"),
        Cell("compute", 0.3, 0.5, 2_000, "least-squares"),
        Cell("compute", 0.3, 0.5, 45_000, "random"),
        Cell("compute", 0.3, 0.5, 45_000, "least-squares"),
        Cell("compute", 0.3, 0.05, 45_000, "random"),
        Cell("compute", 0.3, 0.05, 45_000, "least-squares"),
        Cell("epochs", 20, 0.5, FEW, "random"),
        Cell("epochs", 20, 0.5, FEW, "least-squares"),
        Cell("compute", 1.0, 0.05, 2_000, "least-squares"),
        Cell("compute", 1.0, 0.05, 2_000, "random"),
    ]
    rest = [cell for cell in plan() if cell not in first]
    return first + sorted(rest, key=_price)


def _price(cell: Cell) -> tuple[float, ...]:
    """What a cell costs, then how far it is from the corners."""
    cost = cell.length if cell.currency == "compute" else cell.length * cell.images / IMAGES[-1]
    between = (cell.budget not in (BUDGETS[0], BUDGETS[-1])) + (cell.images not in (IMAGES[0], IMAGES[-1]))
    return cost, between


def distance(a: Cell, b: Cell) -> int:
    """In how many respects two cells differ."""
    return sum(x != y for x, y in zip(a, b, strict=True))
