"""Trials an hour of so many workers, by the command line."""

import os
import subprocess
import sys
import tempfile
from datetime import datetime

from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import finished_trials

_MAIN = "from branchfold.search.console.commands import main; main()"
# Trials that all take the same course: none is stopped early, none is proposed by a model of the others.
_ALIKE = ["search.pruner=none", "search.sampler=random", "search.finalists=1", "screening.candidates=0"]


def trials_an_hour(workers: int, trials: int, epochs: int) -> float:
    """Of the digits' study, run in a folder of its own with one thread a worker.

    Args:
        workers: Processes that run trials.
        trials: In all; more than there are workers.
        epochs: Of each.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"trial.epochs={epochs}", "baseline.epochs=2", "search.recipes=[]", *_ALIKE]
        command = [sys.executable, "-c", _MAIN, "run", "digits", "--quiet", "--workers", str(workers)]
        command += ["--trials", str(trials), "--storage", "sqlite:///s.db"]
        command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
        study = load_study(open_storage(f"sqlite:///{folder}/s.db", create=False), "digits")
        return hourly([t.datetime_complete for t in finished_trials(study) if t.datetime_complete], workers)


def hourly(ends: list[datetime], workers: int) -> float:
    """Trials an hour between each worker's first end and the last one.

    What ends with the first ends was begun with the processes; to count from the first end alone would count them
    without their time.
    """
    ends = sorted(ends)
    return 3600 * (len(ends) - workers) / (ends[-1] - ends[workers - 1]).total_seconds()
