"""What several workers, the database and checkpoints are worth and cost.

    python benchmarks/workers.py --output benchmarks/workers.json

Three measurements. Trials an hour of one worker and of two, one thread each in both, in turns: the built-in study of
the digits by the command line, from the end of its first trial to that of its last one. Seconds that the database
takes of a trial beside 10, 1,000 and 10,000 finished ones, by this package's storage with all that it records, and by
Optuna's own with its parameters and reports alone, in turns. The share of a trial's time that its checkpoints take, of
a trial of a minute (`--study vgg16-cifar10 --data-root …` for a larger network).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from branchfold.benchmarks.results import publish, surroundings
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.run.recording import Recorder, record_recipe
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.training.checkpoint import Checkpoint
from branchfold.search.trial.problem import Problem, new_network
from branchfold.search.trial.report import Report
from branchfold.search.trial.trial import run_trial
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.storage import LOCK_TIMEOUT, StudyConnection, load_study, open_storage, open_study
from branchfold.studies.database.trials import HISTORY, Measurement, finished_trials
from branchfold.studies.definition.reading import load_definition

_MAIN = "from branchfold.search.console.commands import main; main()"
# Trials that all take the same course: none is stopped early, none is proposed by a model of the others.
_ALIKE = ["search.pruner=none", "search.sampler=random", "search.finalists=1", "screening.candidates=0"]


def trials_an_hour(workers: int, trials: int, epochs: int) -> float:
    """By the command line, in a folder of its own, from the first trial's end to the last one's."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"trial.epochs={epochs}", "baseline.epochs=2", "search.recipes=[]", *_ALIKE]
        command = [sys.executable, "-c", _MAIN, "run", "digits", "--quiet", "--workers", str(workers)]
        command += ["--trials", str(trials), "--storage", "sqlite:///s.db"]
        command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
        study = load_study(open_storage(f"sqlite:///{folder}/s.db", create=False), "digits")
        ends = sorted(trial.datetime_complete for trial in finished_trials(study) if trial.datetime_complete)
    return 3600 * (len(ends) - 1) / (ends[-1] - ends[0]).total_seconds()


class Stores:
    """A study with so many finished trials in this package's storage, and one in Optuna's own.

    Args:
        problem: the digits'.
        folder: of the databases.
        finished: trials in each.
    """

    def __init__(self, problem: Problem, folder: Path, finished: int) -> None:
        self.problem = problem
        self.space = SearchSpace(problem.definition, problem.costs, errors=dict)
        self.reports = [Report(n, float(n), 0.0, 0.9, 0.9, 0.1) for n in range(problem.definition.trial.reports + 1)]
        sampler = optuna.samplers.RandomSampler(seed=0)
        self.own = open_study(open_storage(f"sqlite:///{folder}/own.db", create=True), problem.definition)
        self.own.sampler = sampler
        options = {"connect_args": {"timeout": LOCK_TIMEOUT, "factory": StudyConnection}}
        open_storage(f"sqlite:///{folder}/raw.db", create=True)  # the same settings of SQLite: its log is switched on
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = RDBStorage(f"sqlite:///{folder}/raw.db", engine_kwargs=options, heartbeat_interval=15)
        self.raw = optuna.create_study(storage=storage, study_name="raw", direction="maximize", sampler=sampler)
        source = optuna.create_study(sampler=sampler)
        for _ in range(finished):
            self._add(source)

    def _add(self, source: optuna.Study) -> None:
        trial = source.ask()
        self.space.propose(trial)
        values = {report.number: report.folded_metric for report in self.reports}
        for study in (self.own, self.raw):
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=0.9,
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=values,
                )
            )

    def recorded(self, trials: int) -> list[float]:
        """Seconds of each trial with all that is recorded of it."""
        measured = Measurement(0.9, 1, 0.35, 1, 0.3, 1.0, 0.5)._asdict()

        def objective(trial: optuna.Trial) -> float:
            recipe = self._proposed(trial)
            record_recipe(trial, recipe, trial.number, self.problem, checkpoint="0" * 32)
            recorder = Recorder(trial, self.problem.definition, lambda event: None)
            for report in self.reports:
                recorder(report)
            set_user_attrs(trial, {HISTORY: recorder.history, "folding_error": 0.0, "compute": 1.0, **measured})
            return 0.9

        self.own.pruner = optuna.pruners.NopPruner()
        return _timed(self.own, objective, trials)

    def bare(self, trials: int) -> list[float]:
        """Seconds of each trial with its parameters and reports alone."""

        def objective(trial: optuna.Trial) -> float:
            self._proposed(trial)
            for report in self.reports:
                trial.report(report.folded_metric, report.number)
                trial.should_prune()
            return 0.9

        self.raw.pruner = optuna.pruners.NopPruner()
        return _timed(self.raw, objective, trials)

    def _proposed(self, trial: optuna.Trial) -> Recipe:
        return self.space.propose(trial)


def _timed(study: optuna.Study, objective: Any, trials: int) -> list[float]:
    seconds = []
    for _ in range(trials):
        start = time.perf_counter()
        study.optimize(objective, n_trials=1)
        seconds.append(time.perf_counter() - start)
    return seconds


def database_share(problem: Problem, finished: int, runs: int) -> dict[str, float]:
    """Median seconds at one size, in turns; the first trial of each, which reads the database, is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(problem, Path(folder), finished)
        stores.recorded(1)
        stores.bare(1)
        own, raw = [], []
        for _ in range(runs):
            own += stores.recorded(1)
            raw += stores.bare(1)
    found = statistics.median(own), statistics.median(raw)
    return {"branchfold_s": found[0], "optuna_s": found[1], "ratio": found[0] / found[1]}


class _Over(Exception):  # noqa: N818  not an error
    pass


class Timed(Checkpoint):
    """A checkpoint that counts the seconds that it takes, and ends the trial after so many.

    Args:
        path: of its file.
        limit: seconds that the trial takes.
    """

    def __init__(self, path: Path, limit: float) -> None:
        super().__init__(path, {})
        self.began, self.limit, self.taken, self.count, self.size = time.monotonic(), limit, 0.0, 0, 0

    @property
    def is_due(self) -> bool:
        if time.monotonic() - self.began >= self.limit:
            raise _Over
        return super().is_due

    def save(self, state: dict[str, Any]) -> None:
        start = time.monotonic()
        super().save(state)
        self.taken += time.monotonic() - start
        self.count, self.size = self.count + 1, self.path.stat().st_size


def checkpoint_share(problem: Problem, seconds: float) -> dict[str, float]:
    """Of a trial that narrows every group to half of its width and takes so long."""
    widths = {group.name: -(-group.width // 2) for group in problem.costs.groups if group.prunable}
    narrowed = tuple(name for name, width in widths.items() if width)
    recipe = Recipe("linear", {}, 0.5, widths, Training(lr=0.02), Stages(sequence=narrowed))
    baseline = new_network(problem.definition).eval()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Timed(Path(folder) / "checkpoint", seconds)
        try:
            run_trial(recipe, baseline, problem, seed=0, on_report=lambda report: None, checkpoint=checkpoint)
        except _Over:
            pass
        else:
            raise SystemExit("the trial was over before its time")
        return {
            "seconds": time.monotonic() - checkpoint.began,
            "checkpoints": checkpoint.count,
            "checkpoints_s": checkpoint.taken,
            "mebibytes": checkpoint.size / 2**20,
            "share": checkpoint.taken / (time.monotonic() - checkpoint.began),
        }


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of one and of two workers, in turns")
    parser.add_argument("--trials", type=int, default=16, help="of each run")
    parser.add_argument("--epochs", type=int, default=20, help="of each of their trials")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1000, 10_000], help="finished trials")
    parser.add_argument("--runs", type=int, default=30, help="trials timed at each size")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the trial with checkpoints")
    parser.add_argument("--study", default="digits", help="whose network is checkpointed")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, found in rates.items():
            found.append(trials_an_hour(workers, options.trials, options.epochs))
    medians = {workers: statistics.median(found) for workers, found in rates.items() if found}
    with quiet_optuna():
        problem = Problem.of(load_definition("digits", ["trial.epochs=10", "space.stages.count=1"]))
        sizes = {str(size): database_share(problem, size, options.runs) for size in options.sizes}
        definition = load_definition(options.study, ["trial.epochs=100000", "space.stages.count=1"])
        if options.data_root is not None:
            definition = definition.with_data_root(options.data_root)
        kept = checkpoint_share(Problem.of(definition), options.seconds)
    result = {
        "trials_an_hour": {str(workers): found for workers, found in rates.items()},
        "two_workers_over_one": medians[2] / medians[1] if len(medians) == len(rates) else None,
        "database": sizes,
        "checkpoints": {"study": options.study, **kept},
        **surroundings("torch", "optuna", "sqlalchemy"),
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
