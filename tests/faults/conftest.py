"""Studies run by the command line in processes that are killed, and what is to be true of them afterwards."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit

import pytest
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from tiny import tiny_toml

from branchfold.models.checkpoints import load_network
from branchfold.search.trial.measurement import metric_of
from branchfold.search.trial.problem import Problem
from branchfold.studies.database.places.artifacts import NETWORK
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import finished_trials
from branchfold.studies.definition.reading import load_definition

# What holds in all processes of a study here, since only the first of them is started from here: one that is silent for
# seconds counts as dead, checkpoints are written all the time, and nothing is timed.
SITE = """
from branchfold.studies.database import storage
storage.HEARTBEAT_INTERVAL, storage.GRACE_PERIOD = 1, {grace}
from branchfold.search.training import checkpoint
checkpoint.INTERVAL, checkpoint._SPARING = 0.2, 1.0
from branchfold.search.trial import trial
from branchfold.search.trial.latency import Latency
known = Latency(1.0, (0.9, 1.2), 0.5, (0.45, 0.55), unsure=False, rounds=1, threads=1, batch=1)
trial.compare_latency = lambda *args, **kwargs: known
"""
MAIN = "from branchfold.search.console.commands import main; main()"


class Study:
    """A study in a folder, run by `branchfold run` again and again until it is finished; in SQLite unless told."""

    def __init__(self, folder, toml, workers, grace=4, url=None):
        self.folder, self.workers, self.url = folder, workers, url or f"sqlite:///{folder}/s.db"
        (folder / "tiny.toml").write_text(toml)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE.format(grace=grace))
        self.process, self.starts, self._left = None, 0, set()

    def start(self, largest=None):
        """Starts the command, unless it runs; no file may grow beyond `largest` bytes, as on a disk that is full."""
        if self.process is not None and self.process.poll() is None:
            return
        path = os.pathsep.join([str(self.folder / "site"), *filter(None, sys.path)])
        self.starts += 1
        command = [sys.executable, "-c", MAIN, "run", "tiny.toml", "--workers", str(self.workers)]
        command += ["--storage", self.url]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with (self.folder / "out").open("a") as out:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=None if largest is None else lambda: setrlimit(RLIMIT_FSIZE, (largest, largest)),
            )

    def workers_alive(self):
        """Their process ids."""
        with suppress(OSError):
            pid = self.process.pid
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def processes(self):
        """All processes whose working folder this is."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "cwd").readlink() == self.folder:
                    found.append(int(entry.name))
        return found

    def study(self):
        """As the database has it; None before it is there."""
        try:
            return load_study(open_storage(self.url, create=False), "tiny")
        except Exception:
            return None

    def running(self):
        """Numbers of the trials that run, but for those that a killed command left."""
        study = self.study()
        trials = [] if study is None else study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.number for trial in trials} - self._left

    def kill(self, pid):
        """Kills a process; where it is the command itself, waits for its end."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if pid == self.process.pid:
            self.process.wait()
            self._left |= self.running()

    def finished(self):
        """Number → (state, value, network) of what is finished."""
        study = self.study()
        trials = [] if study is None else finished_trials(study)
        return {t.number: (t.state, t.value, t.user_attrs.get(NETWORK)) for t in trials}

    def end_after(self, more, endless):
        """Kills an endless study's command, lets so many more trials end it, and returns how many that makes."""
        self.kill(self.process.pid)
        target = len(self.finished()) + more
        file = self.folder / "tiny.toml"
        file.write_text(file.read_text().replace(f"trials = {endless}", f"trials = {target}"))
        return target

    def run_out(self, within):
        """Runs the command until it has come to its end."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            self.start()
            with suppress(subprocess.TimeoutExpired):
                if self.process.wait(deadline - time.monotonic()) == 0:
                    return
        raise AssertionError(f"not through within {within} s:\n{(self.folder / 'out').read_text()[-3000:]}")

    def end(self):
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@pytest.fixture
def make_study(tmp_path):
    made = []

    def make(toml, workers, **options):
        made.append(Study(tmp_path.resolve(), toml, workers, **options))
        return made[-1]

    yield make
    for study in made:
        study.end()


def _assert_sound(ran, target, before):
    """What holds of a study whatever was done to its processes.

    Args:
        ran: the study.
        target: finished trials that it was to have.
        before: what was finished at any time.
    """
    study, finished = ran.study(), ran.finished()
    trials = study.get_trials(deepcopy=False)
    assert before.items() <= finished.items(), "a finished trial was lost or changed"
    assert len(finished) >= target
    assert not [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    again = Counter(trial.user_attrs["repeats"] for trial in trials if "repeats" in trial.user_attrs)
    assert max(again.values(), default=0) <= 1, "a trial went on twice"
    done = [trial for trial in finished_trials(study) if "same_as" not in trial.user_attrs]
    rates = [trial.params["training.lr"] for trial in done]
    assert len(set(rates)) == len(rates), "a trial was run twice"
    for trial in trials:
        if "repeats" in trial.user_attrs and "seed" in trial.user_attrs:
            first = trials[trial.user_attrs["repeats"]].user_attrs
            # One that was killed while it was being proposed had not begun.
            assert trial.user_attrs["seed"] == first["seed"] if "seed" in first else "recipe" not in first
    assert ran.processes() == []
    if make_url(ran.url).get_backend_name() == "sqlite":
        with closing(sqlite3.connect(make_url(ran.url).database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    problem = Problem.of(load_definition(str(ran.folder / "tiny.toml")))
    for trial in trials:
        if NETWORK in trial.user_attrs and trial.state == TrialState.COMPLETE:
            network = load_network(artifact_folder(ran.url) / trial.user_attrs[NETWORK])
            value = metric_of(network, problem.validation_batches(), problem.task)
            assert value == trial.user_attrs["metric"], trial.number


@pytest.fixture
def assert_sound():
    return _assert_sound


@pytest.fixture
def make_toml():
    """The study's definition: `make_toml(trials=8, epochs=2)`."""
    return lambda *, trials, epochs: tiny_toml(trials=trials, baseline_epochs=2, epochs=epochs)
