"""What is published of the map: each finished cell's difference, and what it rests on."""

from typing import Any

import numpy as np

from branchfold.benchmarks.map_parts.arms import ARMS, AT_ONCE, SCHEDULE
from branchfold.benchmarks.map_parts.cells import Cell, plan
from branchfold.benchmarks.map_parts.differences import difference
from branchfold.benchmarks.map_parts.ledger import FINAL, TUNING, Key, Ledger, unpacked
from branchfold.benchmarks.map_parts.running import SEEDS, winner
from branchfold.studies.statistics import holm

Line = dict[str, Any]


def finished(ledger: Ledger) -> dict[Cell, dict[int, list[tuple[Line, Line]]]]:
    """For each cell that may be published its baselines, and for each of these the pairs of runs on test.

    A baseline counts once it has five pairs.
    """
    found: dict[Cell, dict[int, list[tuple[Line, Line]]]] = {}
    for cell in plan():
        for baseline in sorted({key.baseline for key in ledger.lines if key.cell == cell}):
            pairs = _pairs(cell, baseline, ledger)
            if len(pairs) >= SEEDS:
                found.setdefault(cell, {})[baseline] = pairs
    return found


def _pairs(cell: Cell, baseline: int, ledger: Ledger) -> list[tuple[Line, Line]]:
    seeds = sorted({key.number for key in ledger.lines if key.cell == cell and key.purpose == FINAL})
    keys = [[Key(cell, arm, FINAL, seed, baseline) for arm in (SCHEDULE, AT_ONCE)] for seed in seeds]
    return [(ledger.lines[a], ledger.lines[b]) for a, b in keys if a in ledger.lines and b in ledger.lines]


def published(ledger: Ledger, examples: int) -> list[dict[str, Any]]:
    """Every finished cell in JSON types, p-values corrected for their number (Holm 1979).

    Args:
        ledger: of all runs.
        examples: of the test split.
    """
    rows = [_row(cell, found, ledger, examples) for cell, found in finished(ledger).items()]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows


def _row(cell: Cell, found: dict[int, list[tuple[Line, Line]]], ledger: Ledger, examples: int) -> dict[str, Any]:
    ahead = {
        baseline: np.array([_right(a, examples) - _right(b, examples) for a, b in pairs], np.int8)
        for baseline, pairs in found.items()
    }
    apart = difference(list(ahead.values()))
    return {
        "cell": cell._asdict(),
        "difference": apart.mean,
        "half_width": apart.half_width,
        "p": apart.p,
        "visible": apart.visible,
        "baselines": {str(baseline): float(pairs.mean()) for baseline, pairs in ahead.items()},
        "pairs": sum(map(len, found.values())),
        "arms": {arm: _arm(cell, arm, found, ledger) for arm in ARMS},
    }


def _right(line: Line, examples: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    return unpacked(line["right"], examples).astype(np.int8)


def _arm(cell: Cell, arm: str, found: dict[int, list[tuple[Line, Line]]], ledger: Ledger) -> dict[str, Any]:
    lines = [pair[ARMS.index(arm)] for pairs in found.values() for pair in pairs]
    tried = [line for key, line in ledger.lines.items() if (key.cell, key.arm, key.purpose) == (cell, arm, TUNING)]
    return {
        "winner": winner(cell, arm, ledger),
        "tuning": [{key: line[key] for key in ("number", "choice", "validation")} for line in tried],
        "test": [line["test"] for line in lines],
        "mean": float(np.mean([line["test"] for line in lines])),
        "compute": float(np.mean([line["compute"] for line in lines])),
        "steps": float(np.mean([line["steps"] for line in lines])),
        "seconds": float(np.mean([line["seconds"] for line in lines])),
    }
