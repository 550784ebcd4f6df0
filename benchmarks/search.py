"""What the service costs around a trial's training, beside raw Optuna on the same kind of storage.

    python benchmarks/search.py --output benchmarks/search.json

The built-in study of the digits, a parameter for each layer's width, gets 10, 100 and 1,000 finished trials. Then
trials whose training takes no time are run by the service (recipe proposed, widths scaled to the budget, duplicates
looked for, reports and network kept) and by Optuna alone (the same parameters suggested, the same values reported,
nothing kept): blocks of a few trials in turns, each in a database of its own.
"""

import argparse
import statistics
import tempfile
import time
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from torch import nn

from branchfold.benchmarks.results import publish, surroundings
from branchfold.search.events import TrialEnded
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.run.samplers import make_pruner, make_sampler
from branchfold.search.run.worker import Worker
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.space.proposal import suggest
from branchfold.search.trial.problem import Problem, new_network
from branchfold.search.trial.trial import OnReport, Report, TrialResult
from branchfold.studies.database.retries import SEED
from branchfold.studies.database.storage import open_storage
from branchfold.studies.database.trials import HISTORY, RECIPE, Measurement
from branchfold.studies.definition.reading import load_definition

SIZES = (10, 100, 1000)
MINUTE = 60.0
_BLOCK = 5


class Subject:
    """One study with finished trials, in a database of its own."""

    def __init__(self, problem: Problem, folder: Path, finished: int) -> None:
        self.problem = problem
        self.storage: RDBStorage = open_storage(f"sqlite:///{folder}/studies.db", create=True)
        alone: RDBStorage = open_storage(f"sqlite:///{folder}/alone.db", create=True)
        self.network = new_network(problem.definition)
        self.worker = Worker(problem, self.storage, lambda event: None)
        self.space = SearchSpace(problem.definition, problem.costs, errors=dict)
        self.raw = optuna.create_study(
            storage=alone,
            study_name="raw",
            direction="maximize",
            sampler=make_sampler(problem.definition, self.space.dimensions(), seed=0),
            pruner=make_pruner(problem.definition),
        )
        source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(finished):
            self._add(source, number)
        self.worker.study.set_user_attr("prepared", {"shares": {}, "starts": []})

    def _add(self, source: optuna.Study, number: int) -> None:
        trial = source.ask()
        recipe = self.space.propose(trial)
        reports = [report_of(n) for n in range(self.problem.definition.trial.reports + 1)]
        attributes = {
            RECIPE: recipe.to_dict(),
            SEED: number,
            HISTORY: [report.to_dict() for report in reports],
            **measurement()._asdict(),
        }
        for study, kept in ((self.worker.study, attributes), (self.raw, {})):
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=0.5 + 0.4 * (number % 17) / 17,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs=kept,
                    intermediate_values={report.number: report.folded_metric for report in reports},
                )
            )

    def serve(self, trials: int) -> list[float]:
        """Seconds of each of so many trials by the service."""
        ends: list[float] = []
        self.worker.notify = lambda event: ends.append(time.perf_counter()) if isinstance(event, TrialEnded) else None
        done = len(self.worker.study.get_trials(deepcopy=False))
        with patch("branchfold.search.run.worker.run_trial", self._untrained):
            self.worker.run(done + trials + 1, self.network)
        return [b - a for a, b in pairwise(ends)]

    def _untrained(
        self, recipe: Recipe, baseline: nn.Module, problem: Problem, *, seed: int, on_report: OnReport, **kept: Any
    ) -> TrialResult:
        for number in range(problem.definition.trial.reports + 1):
            on_report(report_of(number))
        return TrialResult(self.network, measurement(), torch.ones(288, dtype=torch.bool), compute=1.0)

    def optimize(self, trials: int) -> list[float]:
        """Seconds of each of so many trials by Optuna alone."""
        ends: list[float] = []
        self.raw.optimize(
            self._raw_objective, n_trials=trials + 1, callbacks=[lambda study, trial: ends.append(time.perf_counter())]
        )
        return [b - a for a, b in pairwise(ends)]

    def _raw_objective(self, trial: optuna.Trial) -> float:
        schedule = self.problem.definition.space.schedule
        shape = str(suggest(trial, "schedule.shape", schedule.shape))
        for name, dimension in self.space.shape_dimensions(shape).items():
            suggest(trial, f"schedule.{shape}.{name}", dimension)
        space = self.problem.definition.space
        named = {**self.space.keep_dimensions(), "training.lr": space.training.lr}
        if shape != "instant":
            named["schedule.fade"] = schedule.fade
            named["blending.mode"] = space.blending.mode
            named["training.restarts"] = space.training.restarts
        for name, dimension in named.items():
            suggest(trial, name, dimension)
        for number in range(self.problem.definition.trial.reports + 1):
            trial.report(report_of(number).folded_metric, number)
            trial.should_prune()
        return 0.5


def report_of(number: int) -> Report:
    """A report that no pruner stops."""
    return Report(number, float(number), 0.0, 0.99, 0.99, 0.1)


def measurement() -> Measurement:
    """Some measurement."""
    return Measurement(0.9, 1, 0.35, 1, 0.3, 1.0, 0.5)


def measure(problem: Problem, finished: int, runs: int) -> dict[str, Any]:
    """Medians at one size; the first trial of each block, which reads the database, is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(problem, Path(folder), finished)
        blocks = [(subject.serve(_BLOCK), subject.optimize(_BLOCK)) for _ in range(max(1, runs // _BLOCK))]
    served, raw = (statistics.median(chain.from_iterable(values)) for values in zip(*blocks, strict=True))
    return {
        "service_s": served,
        "optuna_s": raw,
        "ratio": served / raw,
        "share_of_a_minute": (served - raw) / MINUTE,
    }


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    definition = load_definition("digits", ["trial.epochs=10", "space.stages.count=1"])
    with quiet_optuna():
        problem = Problem.of(definition)
        sizes = {str(size): measure(problem, size, options.runs) for size in SIZES}
    result = {
        "runs": options.runs,
        **surroundings("optuna", "sqlalchemy"),
        "finished_trials": sizes,
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
