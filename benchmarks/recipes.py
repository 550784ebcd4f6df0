"""What the search finds beside what a person would do by hand: one baseline, the same compute for every recipe.

    pip install -e '.[benchmark]'
    python benchmarks/recipes.py --data-root ../shared/data --settings macs50 --output benchmarks/recipes-macs50.json

Quarter-width VGG-16 on CIFAR-10 (`--study` and `--set` take another definition, `--baseline` a checkpoint). A setting
is a share of every layer's channels, or of the MACs. Every row trains with the same batches, course of the learning
rate, arithmetic and final BatchNorm statistics, until it has spent the same compute; what fits branches, chooses
channels or computes the teacher's outputs once is not counted. The study chooses its recipe on the validation split
alone; its best trial's recipe is then run with seeds of its own. Accuracies are those on the test split, one evaluation
for each network. Everything is kept in `--work`: the script goes on where it was stopped. Peak learning rate,
augmentation and distillation of a hand-made row are those of `TRIES` that do best on the validation split with a seed
of its own, as a person would choose them.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from branchfold.benchmarks.judging import accuracy_on_test
from branchfold.benchmarks.recipe_parts.bench import Bench, Setting
from branchfold.benchmarks.recipe_parts.rows import ROWS, TRIES, Try, network_of
from branchfold.benchmarks.results import publish, surroundings
from branchfold.search.run.processes import run_study
from branchfold.search.run.repeating.finalists import compute_of, select
from branchfold.search.trial.measurement import metric_of
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import metric_value

_TRYING_SEED = 999
_FIRST_SEED = 1000
# Options that say nothing about what is measured.
_OWN = ("output", "work", "data_root", "settings", "baseline")


def run_row(options: argparse.Namespace, setting: Setting, row: str, seed: int, tried: Try) -> dict[str, Any]:
    """One row with one seed, in its own process; kept in a file, so that it is not run twice."""
    file = Path(options.work) / f"{setting}-{row}-{tried.lr:g}-{tried.augment}-{tried.distillation:g}-{seed}.json"
    if not file.exists():
        torch.set_num_threads(options.threads)
        bench, started = Bench(options, setting), time.monotonic()
        network = network_of(row, bench, seed, tried)
        result = {
            "validation": metric_of(network, bench.plain.validation_batches(), bench.plain.task),
            "accuracy": None if seed == _TRYING_SEED else accuracy_on_test(network, bench.plain),
            "parameters": sum(p.numel() for p in network.parameters()),
            "seconds": time.monotonic() - started,
        }
        file.write_text(json.dumps(result))
        print(setting, row, *tried, seed, result, flush=True)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def best_try(pool: ProcessPoolExecutor, options: argparse.Namespace, setting: Setting, row: str) -> Try:
    """Of what a person would try, that which does best on the validation split."""
    if len(TRIES[row]) == 1:
        return TRIES[row][0]
    runs = {tried: pool.submit(run_row, options, setting, row, _TRYING_SEED, tried) for tried in TRIES[row]}
    return max(runs, key=lambda tried: float(runs[tried].result()["validation"]))


def search_cost(bench: Bench) -> dict[str, Any]:
    """What the study's search took, told beside what it found."""
    storage = open_storage(bench.storage, create=False)
    study = load_study(storage, str(bench.setting))
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    found = select(study, storage, bench.definition)
    best, again = found.source, [run for finalist in found.finalists for run in finalist.runs]
    return {
        "trials": len(trials),
        "stopped_early": sum(trial.state.name == "PRUNED" for trial in trials),
        "compute": compute_of(trials),
        "finalists": len(found.finalists),
        "finalists_compute": compute_of(again),
        "candidates_screened": bench.definition.screening.candidates,
        "sprints": bench.definition.screening.sprints,
        "best_trial": best.number,
        "validation_accuracy": metric_value(best),
        "recipe": best.user_attrs["recipe"],
    }


def run_setting(options: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """All rows of a setting."""
    bench, searched = Bench(options, setting), "searched" in options.rows
    told = {"macs_share": bench.share, "baseline": accuracy_on_test(bench.baseline, bench.plain)}
    if searched:
        run_study(
            bench.definition, bench.storage, workers=options.workers, notify=lambda event: print(event, flush=True)
        )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        rows = options.rows
        best = {row: best_try(pool, options, setting, row) for row in rows}
        seeds = range(_FIRST_SEED, _FIRST_SEED + options.seeds)
        jobs = {row: [pool.submit(run_row, options, setting, row, seed, best[row]) for seed in seeds] for row in rows}
        results = {row: [job.result() for job in submitted] for row, submitted in jobs.items()}
    return {
        **told,
        **({"search": search_cost(bench)} if searched else {}),
        "rows": {row: {**best[row]._asdict(), **summary(found)} for row, found in results.items()},
    }


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds."""
    accuracies = [result["accuracy"] for result in results]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"mean": statistics.mean(accuracies), "stdev": spread, "runs": results}


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", default="vgg16-cifar10")
    parser.add_argument("--set", action="append", default=["model.width=0.25", "baseline.epochs=20"])
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--baseline", type=Path, help="checkpoint of the network to prune; without it one is trained")
    parser.add_argument("--compute", type=float, default=0.4, help="of one run, in epochs of the baseline's training")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--candidates", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--settings", nargs="+", type=Setting.parse, default=[Setting("channels", 34), Setting("macs", 50)]
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--work", default="recipes", help="folder of what is kept")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    Path(options.work).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads * options.workers)
    result = {
        **surroundings("torch", "optuna", "torch-pruning"),
        "options": {key: value for key, value in vars(options).items() if key not in _OWN},
        "settings": {str(setting): run_setting(options, setting) for setting in options.settings},
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
