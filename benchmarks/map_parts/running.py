"""A cell, run by run: both arms tuned on the validation split, then their winners on new seeds, on test, once."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from branchfold.benchmarks.map_parts.arms import ARMS, Choice, choice_of, recipe_of
from branchfold.benchmarks.map_parts.bench import Bench
from branchfold.benchmarks.map_parts.cells import Cell, distance
from branchfold.benchmarks.map_parts.ledger import FINAL, TUNING, Key, Ledger, packed

TRIALS = 6
SEEDS = 5
# Of trials; finals have others.
_TUNING_SEED = 500
_FIRST_SEED = 1000


def missing(cells: Sequence[Cell], baselines: Sequence[int], ledger: Ledger) -> Iterator[Key]:
    """The runs to do, one cell after another; arms are tuned on the first baseline, the others have the finals alone.

    Args:
        cells: in their order.
        baselines: their seeds.
        ledger: asked again for every run.
    """
    for cell in cells:
        keys = [Key(cell, arm, TUNING, n, baselines[0]) for n in range(TRIALS) for arm in ARMS]
        keys += [
            Key(cell, arm, FINAL, _FIRST_SEED + n, baseline)
            for baseline in baselines
            for n in range(SEEDS)
            for arm in ARMS
        ]
        yield from (key for key in keys if key not in ledger.lines)


def winner(cell: Cell, arm: str, ledger: Ledger) -> Choice | None:
    """What did best on the validation split; None before all trials are done."""
    tried = [line for key, line in ledger.lines.items() if (key.cell, key.arm, key.purpose) == (cell, arm, TUNING)]
    if len(tried) < TRIALS:
        return None
    choice: Choice = max(tried, key=lambda line: float(line["validation"]))["choice"]
    return choice


def nearest(cell: Cell, arm: str, ledger: Ledger, cells: Sequence[Cell]) -> Choice | None:
    """The arm's winner in the most similar cell that is done and has the same currency."""
    done = [other for other in cells if other != cell and other.currency == cell.currency]
    found = [(distance(cell, other), other) for other in done if winner(other, arm, ledger) is not None]
    return winner(min(found, key=lambda pair: pair[0])[1], arm, ledger) if found else None


def run(key: Key, bench: Bench, ledger: Ledger, cells: Sequence[Cell], about: dict[str, Any]) -> dict[str, Any]:
    """One run, recorded with what it ran on."""
    tuning = key.purpose == TUNING
    if tuning:
        choice = choice_of(key.cell, key.arm, key.number, nearest(key.cell, key.arm, ledger, cells))
    else:
        found = winner(key.cell, key.arm, ledger)
        assert found is not None
        choice = found
    recipe = recipe_of(choice, key.cell, bench.widths(key.cell.budget), bench.full)
    outcome = bench.run(recipe, key.cell, _TUNING_SEED if tuning else key.number)
    validation = bench.validation(outcome.network)
    result = {
        "choice": choice,
        "validation": validation if math.isfinite(validation) else 0.0,
        "compute": outcome.compute,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        **about,
    }
    if not tuning:
        right = bench.right(outcome.network)
        result |= {"test": float(right.mean()), "right": packed(right)}
    return ledger.add(key, result)
