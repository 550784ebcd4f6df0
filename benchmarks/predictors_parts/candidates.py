"""The widths that are compared: equal shares, what a screening proposes, what lies between, and random ones."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FixedTrial, create_trial

from branchfold.search.run.screening.screening import judge
from branchfold.search.space import SearchSpace
from branchfold.search.space.known import uniform_shares

from .problems import Subject

SCREENED = 24
_STARTUP = 10
# Deviation of the logarithms of random shares around equal ones.
_NEAR, _FAR = 0.15, 0.4


class Candidate(NamedTuple):
    """Widths, and where they come from.

    Attributes:
        origin: in words.
        widths: group → channels.
    """

    origin: str
    widths: dict[str, int]


def candidates(subject: Subject) -> list[Candidate]:
    """A subject's candidates, in the order in which they are recorded; any beginning of them is of all kinds."""
    file = subject.folder / "candidates.json"
    if not file.exists():
        file.write_text(json.dumps(_chosen(subject)))
    return [Candidate(origin, widths) for origin, widths in json.loads(file.read_text())]


def _chosen(subject: Subject) -> list[Candidate]:
    space = subject.space
    equal = space.propose_widths(FixedTrial(uniform_shares(space)))
    best = [row["widths"] for row in sorted(screened(subject), key=lambda row: row["loss"]) if row["widths"] != equal]
    draw = random.Random(0)
    named = [
        Candidate("equal shares", equal),
        Candidate("screened, 1st", best[0]),
        Candidate("half-way to the 1st", between(space, equal, best[0], 0.5)),
        Candidate("screened, 2nd", best[1]),
        Candidate("random, near", _random(space, equal, _NEAR, draw)),
        Candidate("screened, middle", best[len(best) // 2]),
        Candidate("half-way to the 2nd", between(space, equal, best[1], 0.5)),
        Candidate("random, far", _random(space, equal, _FAR, draw)),
        Candidate("screened, 3rd", best[2]),
        Candidate("a quarter to the 1st", between(space, equal, best[0], 0.25)),
        Candidate("screened, third quarter", best[3 * len(best) // 4]),
        Candidate("random, far", _random(space, equal, _FAR, draw)),
        Candidate("half-way to the 3rd", between(space, equal, best[2], 0.5)),
        Candidate("screened, 4th", best[3]),
        Candidate("random, near", _random(space, equal, _NEAR, draw)),
        Candidate("three quarters to the 1st", between(space, equal, best[0], 0.75)),
        Candidate("screened, 5th", best[4]),
        Candidate("random, far", _random(space, equal, _FAR, draw)),
        Candidate("screened, first quarter", best[len(best) // 4]),
        Candidate("half-way to the middle", between(space, equal, best[len(best) // 2], 0.5)),
    ]
    found: list[Candidate] = []
    for candidate in named:
        if candidate.widths not in [other.widths for other in found]:
            found.append(candidate)
    return found


def screened(subject: Subject) -> list[dict[str, Any]]:
    """What a screening judged, few images for each initialisation; goes on where it was stopped."""
    file: Path = subject.folder / "screened.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    study = optuna.create_study(sampler=TPESampler(seed=0, multivariate=True, n_startup_trials=_STARTUP))
    space = subject.space
    distributions: Any = {
        name: optuna.distributions.FloatDistribution(dimension.low, dimension.high)  # type: ignore[union-attr]
        for name, dimension in space.keep_dimensions().items()
    }
    for row in rows:
        study.add_trial(create_trial(params=row["params"], distributions=distributions, value=row["loss"]))
    if not rows:
        study.enqueue_trial(uniform_shares(space))
    while len(rows) < SCREENED:
        trial = study.ask()
        widths = space.propose_widths(trial)
        loss = judge(widths, subject.baseline, subject.few)
        study.tell(trial, loss)
        rows.append({"params": trial.params, "widths": widths, "loss": loss})
        with file.open("a") as out:
            out.write(json.dumps(rows[-1]) + "\n")
        print(subject.name, "screened", len(rows), f"{loss:.4f}", flush=True)
    return rows


def between(space: SearchSpace, start: Mapping[str, int], end: Mapping[str, int], share: float) -> dict[str, int]:
    """Widths within the budget on the straight line between two, of their logarithms."""
    return space.widths(
        {
            name: math.exp((1 - share) * math.log(start[name]) + share * math.log(end[name])) / full
            for name, full in space.full.items()
        }
    )


def _random(space: SearchSpace, equal: Mapping[str, int], deviation: float, draw: random.Random) -> dict[str, int]:
    return space.widths(
        {name: min(1.0, equal[name] / full * math.exp(draw.gauss(0, deviation))) for name, full in space.full.items()}
    )
