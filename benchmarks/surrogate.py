"""Which search finds the most at equal compute: recorded trials, a regressor of them, and many searches on it.

    python benchmarks/surrogate.py record --work surrogate-work
    python benchmarks/surrogate.py compare --samplers tpe --output benchmarks/surrogate.json

`record` trains random recipes of `surrogate.toml`, each at three rungs: whole trials of a ninth, a third and all of the
compute, rates and α relative to the trial's own length. It takes about half an hour on one idle core and goes on where
it was stopped; what it found here is in `surrogate-trials.jsonl.gz`. `compare` needs a few minutes for each sampler,
"gp" much longer; rows of samplers that the output has already stay.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from branchfold.benchmarks.results import publish, surroundings
from branchfold.benchmarks.surrogate_parts.model import Recorded, Surrogate, correlations
from branchfold.benchmarks.surrogate_parts.recording import record, written
from branchfold.benchmarks.surrogate_parts.searches import METHODS, SAMPLERS, Search, Setting, World
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import load_definition

STUDY = Path(__file__).with_suffix(".toml")
TRIALS = Path(__file__).with_name("surrogate-trials.jsonl.gz")
# Resamples of the seeds behind an interval.
_RESAMPLES = 10_000


@cache
def _ready(trials: Path) -> tuple[Surrogate, Problem]:
    torch.set_num_threads(1)
    return Surrogate(Recorded.read(trials)), Problem.of(load_definition(str(STUDY)))


def searched(trials: Path, setting: Setting, seed: int, compute: float) -> tuple[float, int]:
    """The true accuracy that one search delivers, and how many trials it began."""
    with quiet_optuna():
        surrogate, problem = _ready(trials)
        search = Search(World(surrogate, seed), problem.definition, problem.costs, setting, seed)
        return search.run(compute), search.trials


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Every setting on every seed; settings are compared on the same seeds, with today's way, the median pruner."""
    begun = time.perf_counter()
    recorded = Recorded.read(options.trials)
    surrogate, _ = _ready(options.trials)
    settings = [Setting(*each) for each in product(options.samplers, METHODS, (False, True), (False, True))]
    jobs = [(setting, seed) for setting in settings for seed in range(options.seeds)]
    found: dict[Setting, list[tuple[float, int]]] = {setting: [] for setting in settings}
    with ProcessPoolExecutor(options.processes) as pool:
        futures = [(s, pool.submit(searched, options.trials, s, seed, options.compute)) for s, seed in jobs]
        for setting, future in futures:
            found[setting].append(future.result())
    rows = []
    for setting, results in found.items():
        values = np.array([value for value, _ in results])
        today = np.array([value for value, _ in found[setting._replace(method="median")]])
        rows.append(
            {
                **setting._asdict(),
                "accuracy": float(values.mean()),
                "trials": statistics.mean(trials for _, trials in results),
                "above_median_pruner": _interval(values - today),
            }
        )
    return {
        "recorded": {
            "trials": len(recorded.trials),
            "noise_points": recorded.noise_points(),
            "rank_correlation_with_whole": correlations(recorded),
        },
        "held_out": surrogate.agreement(),
        "compute": options.compute,
        "seeds": options.seeds,
        "seconds": round(time.perf_counter() - begun),
        **surroundings("optuna", "scikit-learn"),
        "searches": rows,
    }


def _beside_others(result: dict[str, Any], output: Path | None) -> dict[str, Any]:
    """The result with the rows of other samplers that a file of as many seeds and as much compute has already."""
    before = json.loads(output.read_text()) if output is not None and output.exists() else {}
    if any(before.get(key) != result[key] for key in ("compute", "seeds", "recorded")):
        return result
    new = {row["sampler"] for row in result["searches"]}
    others = [row for row in before["searches"] if row["sampler"] not in new]
    rows = sorted([*others, *result["searches"]], key=lambda row: SAMPLERS.index(row["sampler"]))
    return {**result, "seconds": before["seconds"] + result["seconds"], "searches": rows}


def _interval(differences: np.ndarray[Any, Any]) -> dict[str, float]:
    """The mean, and its 95 % interval by bootstrap over the seeds."""
    random = np.random.default_rng(0)
    means = random.choice(differences, (_RESAMPLES, len(differences))).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(differences.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    """Records trials, or compares searches on what was recorded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train random recipes at every rung")
    recording.add_argument("--work", type=Path, required=True, help="folder of what is recorded")
    recording.add_argument("--trials", type=int, default=520)
    recording.add_argument("--again", type=int, default=40, help="recipes whose highest rung has a second seed")
    recording.add_argument("--output", type=Path, help="file of all of it, compressed")
    comparing = commands.add_parser("compare", help="search on the surrogate")
    comparing.add_argument("--trials", type=Path, default=TRIALS, help="file that `record` wrote")
    comparing.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["tpe", "random"])
    comparing.add_argument("--seeds", type=int, default=20)
    comparing.add_argument("--compute", type=float, default=20.0, help="of each search, in whole trials")
    comparing.add_argument("--processes", type=int, default=1)
    comparing.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        publish(_beside_others(compare(options), options.output), options.output)
        return
    with quiet_optuna():
        about = record(Problem.of(load_definition(str(STUDY))), options.work, options.trials, options.again)
    if options.output is not None:
        written(options.work, about, options.output)
    print(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
