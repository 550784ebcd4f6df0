"""What the search finds beside what a person would do by hand: one baseline, the same compute for every recipe.

    pip install -e '.[benchmark]'
    python benchmarks/recipes.py --data-root ../shared/data --settings macs50 --output benchmarks/recipes-macs50.json

Quarter-width VGG-16 on CIFAR-10 (`--study` takes another definition). Every row trains with the same batches, course of
the learning rate and final BatchNorm statistics, until it has spent the same compute; what fits branches or chooses
channels is not counted. The study chooses its recipe on the validation split alone; its best trial's recipe is then run
with seeds of its own. Accuracies are those on the test split, one evaluation for each network. Everything is kept in
`--work`: the script goes on where it was stopped. Peak learning rate and augmentation of a hand-made row are those of
`TRIES` that do best on the validation split with a seed of its own, as a person would choose them.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from branchfold.benchmarks.results import publish, surroundings
from branchfold.models.branches.keep import rounded_width
from branchfold.models.checkpoints import load_network
from branchfold.models.networks.factories import build_network
from branchfold.search.data.batches import Batches
from branchfold.search.data.splits import load_test
from branchfold.search.run.finalists import compute_of, select
from branchfold.search.run.processes import run_study
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.space.recipe import Stages, Training, narrowed
from branchfold.search.training.compute import Length
from branchfold.search.training.fading import BranchTraining
from branchfold.search.training.fitting import fit
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.measurement import metric_of
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.trial import delivered, run_trial
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import metric_value
from branchfold.studies.definition.reading import Definition, load_definition

CHANNELS = 0.34
MACS = 0.5
SETTINGS = ("channels34", "macs50")
ROWS = (
    "report",
    "scratch",
    "torch-pruning-l1",
    "torch-pruning-group-norm",
    "fold-at-once",
    "probability",
    "searched",
)


class Try(NamedTuple):
    """Peak learning rate, and whether images are augmented."""

    lr: float
    augment: bool


def tries(*rates: float) -> tuple[Try, ...]:
    """Each rate with and without augmentation."""
    return tuple(Try(lr, augment) for lr in rates for augment in (True, False))


# What a person would try; the report's rate is its own.
TRIES = {
    "report": tries(0.01),
    "scratch": tries(0.1, 0.05),
    "torch-pruning-l1": tries(0.05, 0.02),
    "torch-pruning-group-norm": tries(0.05, 0.02),
    "fold-at-once": tries(0.05, 0.02),
    "probability": tries(0.05, 0.02),
    "searched": (Try(0.0, False),),  # the recipe has its own
}
_TRYING_SEED = 999
_FIRST_SEED = 1000
# What the study searches; the rest is the built-in definition's.
SPACE = (
    'space.schedule.shape=["instant", "linear", "knee"]',
    "space.schedule.fade={low=0.05, high=0.5}",
    'space.blending.mode=["probability", "uniform", "convex"]',
    "space.stages.count={low=1, high=2}",
    'space.initialisation.method=["least-squares", "selection"]',
    "space.training.lr={low=0.01, high=0.1, log=true}",
    "space.training.augment=[false, true]",
)


class Bench:
    """One setting: the baseline, the widths of the hand-made rows, and the study's definition."""

    def __init__(self, options: argparse.Namespace, setting: str) -> None:
        self.options, self.setting = options, setting
        common = [*options.set, f"data.root={json.dumps(options.data_root)}", f"trial.compute={options.compute}"]
        self.plain = Problem.of(load_definition(options.study, common))
        if setting == "channels34":
            groups = [group for group in self.plain.costs.groups if group.prunable]
            self.widths = {
                group.name: rounded_width(CHANNELS * group.width, group.width, group.blocks) for group in groups
            }
        else:
            budget = self._definition(common, MACS)
            space = SearchSpace(budget, self.plain.costs, errors=dict)
            self.widths = space.widths(dict.fromkeys(space.full, 1.0))
        self.share = self.plain.costs.cost(self.widths).macs / self.plain.costs.full.macs
        checkpoint = f"baseline.checkpoint={json.dumps(str(self.baseline_file))}"
        self.definition = self._definition([*common, *SPACE, checkpoint], self.share)

    def _definition(self, overrides: list[str], share: float) -> Definition:
        study = [
            f"study.name={self.setting}",
            f"study.budget={{macs = {share}}}",
            f"study.trials={self.options.trials}",
        ]
        screening = f"screening.candidates={self.options.candidates}"
        return load_definition(self.options.study, [*overrides, *study, screening])

    @property
    def baseline_file(self) -> Path:
        """The checkpoint of the network that all rows prune."""
        return Path(self.options.work) / "baseline.safetensors"

    @property
    def storage(self) -> str:
        """The study's database."""
        return f"sqlite:///{Path(self.options.work).absolute()}/recipes.db"

    def baseline(self) -> nn.Module:
        """The network that all rows prune, trained now unless it is there."""
        if not self.baseline_file.exists():
            make_baseline(self.plain, self.baseline_file, print)
        return load_network(self.baseline_file).eval()


def recipe_of(row: str, bench: Bench, tried: Try) -> Recipe:
    """The recipe of one of branchfold's own rows."""
    full = {group.name: group.width for group in bench.plain.costs.groups}
    sequence = tuple(narrowed(bench.widths, full, list(bench.widths)))
    once = Recipe(
        "instant", {}, 0.0, bench.widths, Training(lr=tried.lr, augment=tried.augment), Stages(sequence=sequence)
    )
    if row == "report":
        # Over the whole trial, random branches, the report's small rate.
        return replace(once, shape="step", parameters={"steps": 10}, fade=1.0, method="kaiming")
    if row == "probability":
        return replace(once, shape="linear", fade=0.3, blending="probability")
    if row == "searched":
        storage = open_storage(bench.storage, create=False)
        found = select(load_study(storage, bench.setting), storage, bench.definition)
        return Recipe.from_dict(found.source.user_attrs["recipe"])
    return once


def fine_tuned(network: nn.Module, bench: Bench, seed: int, tried: Try) -> nn.Module:
    """A plain network trained with the compute of a trial."""
    torch.manual_seed(seed)
    problem = bench.plain
    table = problem.definition.trial
    recipe = Recipe("instant", {}, 0.0, {}, Training(lr=tried.lr))
    length = Length(problem.meter(), compute=table.compute)
    module = BranchTraining(
        network.train(), recipe, problem.task, fold=lambda branched, groups: branched, length=length
    )
    batches = problem.training_batches(table.batch_size, seed=seed, augment=tried.augment)
    fit(module, batches, epochs=-1, callbacks=[])
    return delivered(module.network.cpu(), problem)


def from_scratch(bench: Bench, seed: int) -> nn.Module:
    """The small network with random weights."""
    from branchfold.models import add_branches, fold

    torch.manual_seed(seed)
    table = bench.definition.model
    full = build_network(table.factory, table.arguments)
    shape = bench.plain.example(2)[0].shape
    small = fold(add_branches(full, torch.zeros(shape), keep=shares(bench), init="kaiming"))
    for layer in small.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return small


def shares(bench: Bench) -> dict[str, float]:
    """The widths as shares."""
    full = {group.name: group.width for group in bench.plain.costs.groups}
    return {name: width / full[name] for name, width in bench.widths.items()}


def torch_pruned(bench: Bench, importance: str) -> nn.Module:
    """The baseline narrowed by Torch-Pruning to the same widths."""
    import torch_pruning

    network, example = bench.baseline(), bench.plain.example(1)[0]
    modules = dict(network.named_modules())
    writers = {group.name: group.writers for group in bench.plain.costs.groups if group.prunable}
    full = {group.name: group.width for group in bench.plain.costs.groups}
    ratios = {
        # Torch-Pruning rounds the channels that stay down: half a channel more makes it the number meant.
        modules[writer]: (full[name] - bench.widths[name] - 0.5) / full[name]
        for name, written in writers.items()
        for writer in written
    }
    norm = torch_pruning.importance.MagnitudeImportance(p=1)
    if importance == "group-norm":
        norm = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    outputs = [layer for layer in modules.values() if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in ratios]
    pruner = torch_pruning.pruner.BasePruner(
        network, example, importance=norm, pruning_ratio=0.0, pruning_ratio_dict=ratios, ignored_layers=outputs
    )
    pruner.step()
    return network


def network_of(row: str, bench: Bench, seed: int, tried: Try) -> nn.Module:
    """One row's network, trained."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "scratch": lambda: from_scratch(bench, seed),
        "torch-pruning-l1": lambda: torch_pruned(bench, "l1"),
        "torch-pruning-group-norm": lambda: torch_pruned(bench, "group-norm"),
    }
    if row in makers:
        return fine_tuned(makers[row](), bench, seed, tried)
    recipe = recipe_of(row, bench, tried)
    return run_trial(recipe, bench.baseline(), bench.plain, seed=seed, on_report=lambda report: None).network


def run_row(options: argparse.Namespace, setting: str, row: str, seed: int, tried: Try) -> dict[str, Any]:
    """One row with one seed, in its own process; kept in a file, so that it is not run twice."""
    suffix = "augmented" if tried.augment else "plain"
    file = Path(options.work) / f"{setting}-{row}-{tried.lr:g}-{suffix}-{seed}.json"
    if not file.exists():
        torch.set_num_threads(options.threads)
        bench, started = Bench(options, setting), time.monotonic()
        network = network_of(row, bench, seed, tried)
        result = {
            "validation": metric_of(network, bench.plain.validation_batches(), bench.plain.task),
            "accuracy": None if seed == _TRYING_SEED else on_test(network, bench.plain),
            "parameters": sum(p.numel() for p in network.parameters()),
            "seconds": time.monotonic() - started,
        }
        file.write_text(json.dumps(result))
        print(setting, row, *tried, seed, result, flush=True)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def best_try(pool: ProcessPoolExecutor, options: argparse.Namespace, setting: str, row: str) -> Try:
    """Of what a person would try, that which does best on the validation split."""
    if len(TRIES[row]) == 1:
        return TRIES[row][0]
    runs = {tried: pool.submit(run_row, options, setting, row, _TRYING_SEED, tried) for tried in TRIES[row]}
    return max(runs, key=lambda tried: float(runs[tried].result()["validation"]))


@cache
def _test_split(name: str, root: str) -> Any:
    return load_test(name, root)


def on_test(network: nn.Module, problem: Problem) -> float:
    """Accuracy on the test split."""
    split = _test_split(problem.data.name, problem.definition.data.root)
    batches = Batches(split, 500, mean=problem.data.mean, std=problem.data.std, shuffle=False, augment=False, seed=0)
    return metric_of(network, batches, problem.task)


def search_cost(bench: Bench) -> dict[str, Any]:
    """What the study's search took, told beside what it found."""
    storage = open_storage(bench.storage, create=False)
    study = load_study(storage, bench.setting)
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


def run_setting(options: argparse.Namespace, setting: str) -> dict[str, Any]:
    """All rows of a setting."""
    bench = Bench(options, setting)
    baseline = bench.baseline()
    context = multiprocessing.get_context("spawn")
    run_study(bench.definition, bench.storage, workers=options.workers, notify=lambda event: print(event, flush=True))
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        best = {row: best_try(pool, options, setting, row) for row in options.rows}
        seeds = range(_FIRST_SEED, _FIRST_SEED + options.seeds)
        jobs = {row: [pool.submit(run_row, options, setting, row, seed, best[row]) for seed in seeds] for row in best}
        rows = {row: [job.result() for job in submitted] for row, submitted in jobs.items()}
    return {
        "macs_share": bench.share,
        "baseline": on_test(baseline, bench.plain),
        "search": search_cost(bench),
        "rows": {row: {**best[row]._asdict(), **summary(results)} for row, results in rows.items()},
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
    parser.add_argument("--compute", type=float, default=0.4, help="of one run, in epochs of the baseline's training")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--candidates", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--work", default="recipes", help="folder of what is kept")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    Path(options.work).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads * options.workers)
    result = {
        **surroundings("torch", "optuna", "torch-pruning"),
        "options": {key: value for key, value in vars(options).items() if key not in ("output", "work", "data_root")},
        "settings": {setting: run_setting(options, setting) for setting in options.settings},
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
