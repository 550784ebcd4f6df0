"""Random trials at every rung, each a line of JSON: one recipe and seed, trained anew for each rung's length."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import nn

from branchfold.benchmarks.results import surroundings
from branchfold.benchmarks.surrogate_parts.economy import Initialised, beginning, cheaply
from branchfold.models.checkpoints import load_network
from branchfold.models.examples import arguments
from branchfold.models.fitting.activations import sensitivity
from branchfold.models.networks.factories import resolve_factory
from branchfold.search.run.repeating.runs import with_length
from branchfold.search.run.screening.screening import judge
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.measurement import loss_of
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.trial import Diverged, Report, delivered, run_trial

RUNGS, FACTOR = 3, 3
# Every so many recipes has widths that are the best of some by untrained loss, as a screened study's are.
_SCREENED_EVERY, _SCREENED_AMONG = 4, 4
# A recipe's second run, which tells how far runs of one recipe differ, has a seed so much higher.
_SECOND_SEED = 1_000_000


class Recording:
    """The recording of a study's random trials in a folder; it goes on where it was stopped.

    Args:
        problem: the study's, its trial the highest rung's.
        folder: of the baseline and the recorded trials.
    """

    def __init__(self, problem: Problem, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.problem, self.file = problem, folder / "trials.jsonl"
        self.baseline, self.metric = _baseline(problem, folder / "baseline.safetensors")
        batches = [arguments(inputs) for inputs, _ in problem.calibration_batches]
        curves = sensitivity(self.baseline, problem.inputs, batches)
        errors = {name: curve.tolist() for name, curve in curves.items()}
        self.space = SearchSpace(problem.definition, problem.costs, lambda: errors)

    def about(self) -> dict[str, Any]:
        """What is to be known of the recorded trials."""
        costs = self.problem.costs
        return {
            "baseline": self.metric,
            "examples": {"train": len(self.problem.data.train), "validation": len(self.problem.data.validation)},
            "widths": {group.name: group.width for group in costs.groups if group.prunable},
            "compute": self.problem.definition.trial.compute,
            "factor": FACTOR,
            **surroundings("torch", "pytorch-lightning", "optuna", "scikit-learn"),
        }

    def record(self, count: int, again: int) -> None:
        """Records trials until there are so many, and so many of the first ones' highest rung on another seed."""
        known = set(map(_key, self.recorded()))
        first = [(number, False) for number in range(count)]
        for number, second in [*first, *((number, True) for number in range(min(again, count)))]:
            if (number, second) not in known:
                line = self._run(number, second)
                with self.file.open("a") as file:
                    file.write(json.dumps(line) + "\n")

    def recorded(self) -> Iterator[dict[str, Any]]:
        """What is recorded; a line that a kill cut short is none."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

    def _run(self, number: int, second: bool) -> dict[str, Any]:
        begun = time.process_time()
        params, recipe = self._drawn(number)
        start = Initialised(recipe, self.baseline, self.problem)
        untrained = delivered(start(), self.problem)
        loss = loss_of(untrained, self.problem.validation_batches(), self.problem.task)
        seed = number + (_SECOND_SEED if second else 0)
        lengths = [0] if second else range(RUNGS)
        rungs = [self._trained(recipe, start, seed, below) for below in lengths]
        return {
            "number": number,
            "again": second,
            "params": params,
            "recipe": recipe.to_dict(),
            "untrained_loss": loss,
            "rungs": rungs,
            "seconds": round(time.process_time() - begun, 2),
        }

    def _drawn(self, number: int) -> tuple[dict[str, Any], Recipe]:
        """The recipe of a number: a random one, or one whose widths are the best of several."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
        if number % _SCREENED_EVERY == _SCREENED_EVERY - 1:
            found = []
            for _ in range(_SCREENED_AMONG):
                trial = study.ask()
                widths = self.space.propose_widths(trial)
                found.append((judge(widths, self.baseline, self.problem), dict(trial.params)))
            study.enqueue_trial(min(found, key=lambda each: each[0])[1])
        trial = study.ask()
        recipe = self.space.propose(trial)
        return dict(trial.params), recipe

    def _trained(self, recipe: Recipe, start: Initialised, seed: int, below: int) -> dict[str, Any]:
        """One rung: the trial of the length of so many rungs below the highest, of which alone the course is kept."""
        whole = self.problem.definition.trial.compute
        assert whole is not None
        problem = with_length(self.problem, {"compute": whole * FACTOR**-below})
        reports: list[Report] = []
        begun = time.process_time()
        try:
            with beginning(start, silent=below > 0):
                result = run_trial(recipe, self.baseline, problem, seed=seed, on_report=reports.append)
        except Diverged:
            value = compute = None
        else:
            value, compute = result.measurement.metric, result.compute
        return {
            "below": below,
            "metric": value,
            "compute": compute,
            "history": [[round(report.compute, 5), round(report.folded_metric, 5)] for report in reports],
            "seconds": round(time.process_time() - begun, 2),
        }


def record(problem: Problem, folder: Path, count: int, again: int) -> dict[str, Any]:
    """Records a study's random trials; returns what is to be known of them."""
    torch.set_num_threads(1)
    with cheaply():
        recording = Recording(problem, folder)
        recording.record(count, again)
    return recording.about()


def _baseline(problem: Problem, path: Path) -> tuple[nn.Module, float]:
    told = path.with_suffix(".json")
    if not told.exists():
        made = make_baseline(problem, path, lambda event: None)
        told.write_text(json.dumps({"metric": made["metric"]}))
    network = load_network(path, resolve_factory(problem.definition.model.factory))
    return network, json.loads(told.read_text())["metric"]


def _key(line: dict[str, Any]) -> tuple[int, bool]:
    return line["number"], line["again"]


def written(folder: Path, about: dict[str, Any], output: Path) -> None:
    """Writes what a folder holds as compressed JSON lines, what is to be known of it first."""
    lines = sorted(map(json.loads, (folder / "trials.jsonl").read_text().splitlines()), key=_key)
    with gzip.open(output, "wt") as file:
        for line in (about, *lines):
            file.write(json.dumps(line) + "\n")
