"""Seconds that the database takes of a trial beside many finished ones, and those of Optuna's own storage."""

import sqlite3
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from branchfold.search.run.recording import Recorder, record_recipe
from branchfold.search.space import SearchSpace
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.report import Report
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.places.connecting import LOCK_TIMEOUT, StudyConnection
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import HISTORY, Measurement

# So many trials are run into a new store; the others are copies of their rows, since 10,000 trials take half an hour.
_RUN = 10


class Stores:
    """A study in this package's storage, and one in Optuna's own, for the same trials.

    Args:
        problem: The digits'.
        folder: Of the databases.
        finished: Trials in each to begin with.
    """

    def __init__(self, problem: Problem, folder: Path, finished: int) -> None:
        self.problem = problem
        self.space = SearchSpace(problem.definition, problem.costs, errors=dict)
        self.reports = [Report(n, float(n), 0.0, 0.9, 0.9, 0.1) for n in range(problem.definition.trial.reports + 1)]
        own, raw = folder / "own.db", folder / "raw.db"
        sampler, pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
        self.own = open_study(open_storage(f"sqlite:///{own}", create=True), problem.definition)
        self.own.sampler, self.own.pruner = sampler, pruner
        open_storage(f"sqlite:///{raw}", create=True)  # the same settings of SQLite: its log is switched on
        options = {"connect_args": {"timeout": LOCK_TIMEOUT, "factory": StudyConnection}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = RDBStorage(f"sqlite:///{raw}", engine_kwargs=options, heartbeat_interval=15)
        self.raw = optuna.create_study(
            storage=storage, study_name="raw", direction="maximize", sampler=sampler, pruner=pruner
        )
        for _ in range(min(finished, _RUN)):
            self.recorded()
            self.bare()
        for file in (own, raw):
            multiply_trials(file, finished)

    def recorded(self) -> float:
        """Seconds of a trial with all that is recorded of it."""
        return _seconds(self.own, self._record)

    def bare(self) -> float:
        """Seconds of a trial with its parameters and reports alone."""
        return _seconds(self.raw, self._report)

    def _record(self, trial: optuna.Trial) -> float:
        recipe = self.space.propose(trial)
        record_recipe(trial, recipe, trial.number, self.problem, checkpoint="0" * 32)
        recorder = Recorder(trial, self.problem.definition, lambda event: None)
        for report in self.reports:
            recorder(report)
        measured = Measurement(0.9, 1, 0.35, 1, 0.3, 1.0, 0.5)._asdict()
        set_user_attrs(trial, {HISTORY: recorder.history, "folding_error": 0.0, "compute": 1.0, **measured})
        return 0.9

    def _report(self, trial: optuna.Trial) -> float:
        self.space.propose(trial)
        for report in self.reports:
            trial.report(report.folded_metric, report.number)
            trial.should_prune()
        return 0.9


def multiply_trials(file: Path, trials: int) -> None:
    """Copies the trials of a SQLite database that holds one study, with all their rows, until it has so many.

    Args:
        file: The database.
        trials: Wanted; there is one at least, and their ids are 1, 2, 3, … .
    """
    with closing(sqlite3.connect(file)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: _copied(connection, table) for table in tables}
        (there,) = connection.execute("SELECT count(*) FROM trials").fetchone()
        while there < trials:
            more = min(there, trials - there)
            for table, names in columns.items():
                if "trial_id" in names:
                    _copy_rows(connection, table, names, there, more)
            there += more


def _copied(connection: sqlite3.Connection, table: str) -> list[str]:
    """A table's columns but for the id of a row, which the database gives."""
    described = list(connection.execute(f"PRAGMA table_info({table})"))
    keys = [name for _, name, _, _, _, key in described if key]
    given = keys[0] if len(keys) == 1 and keys[0] != "trial_id" else None
    return [name for _, name, *_ in described if name != given]


def _copy_rows(connection: sqlite3.Connection, table: str, names: list[str], by: int, trials: int) -> None:
    """Copies the rows of trials 1 to `trials` for those whose ids, and numbers, are `by` more."""
    moved = {"trial_id", "number"} if table == "trials" else {"trial_id"}
    values = ", ".join(f'"{name}" + {by}' if name in moved else f'"{name}"' for name in names)
    into = ", ".join(f'"{name}"' for name in names)
    connection.execute(f"INSERT INTO {table} ({into}) SELECT {values} FROM {table} WHERE trial_id <= {trials}")


def _seconds(study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> float:
    start = time.perf_counter()
    study.optimize(objective, n_trials=1)
    return time.perf_counter() - start


def database_share(problem: Problem, finished: int, runs: int) -> dict[str, float]:
    """Median seconds at one size, in turns; the first trial of each, which reads the database, is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(problem, Path(folder), finished)
        pairs = [(stores.recorded(), stores.bare()) for _ in range(runs + 1)][1:]
    own, raw = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {"branchfold_s": own, "optuna_s": raw, "ratio": own / raw}
