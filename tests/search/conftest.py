"""A tiny study on the digits, run in this process, and the command line as a function."""

import contextlib
import io
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tiny import tiny_toml

from branchfold.search.console import commands
from branchfold.search.exports import evaluation, verification
from branchfold.search.run.processes import run_study
from branchfold.search.trial import trial
from branchfold.search.trial.baseline import train
from branchfold.search.trial.latency import Latency
from branchfold.search.trial.problem import Problem, new_network
from branchfold.studies.database.storage import open_storage
from branchfold.studies.definition.reading import parse_definition

torch.set_num_threads(1)

TINY = tiny_toml(
    trials=3,
    baseline_epochs=4,
    epochs=2,
    trial='precision = "float32"\nmemory_format = "contiguous"\n',
    search="startup_trials = 2\n",
)


# What exported networks are said to need where latency is not the subject: a second a measurement is long.
LATENCY = Latency(1.0, (0.9, 1.2), 0.5, (0.45, 0.55), unsure=False, rounds=1, threads=1, batch=1)


class Answer(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


def tables(**changes):
    """The tiny definition's tables; `space__training={...}` replaces a table's keys."""
    import tomllib

    found = tomllib.loads(TINY)
    for path, values in changes.items():
        node = found
        for part in path.split("__"):
            node = node.setdefault(part, {})
        node.update(values)
    return found


@pytest.fixture(scope="session")
def define():
    return lambda **changes: parse_definition(tables(**changes))


@pytest.fixture(scope="session")
def toml():
    return TINY


@pytest.fixture(scope="session")
def problem(define):
    return Problem.of(define())


@pytest.fixture(scope="session")
def baseline(problem):
    """A trained network; tests must not change it."""
    network = new_network(problem.definition)
    train(network, problem, lambda event: None)
    return network.eval()


@pytest.fixture
def quick_latency(monkeypatch):
    """Trials, exports and evaluations that time nothing, and check files without a process of their own."""
    _time_nothing(monkeypatch)


def _time_nothing(patch):
    patch.setattr(trial, "compare_latency", lambda *args, **kwargs: LATENCY)
    for module in (evaluation, verification):
        patch.setattr(module, "compare_passes", lambda *args, **kwargs: LATENCY)
    patch.setattr(verification, "_in_fresh_process", verification.check_files)


@pytest.fixture
def study_run(define, tmp_path, quick_latency):
    """Runs the tiny definition with changes; (study, url, events)."""

    def run(workers=1, url=f"sqlite:///{tmp_path}/s.db", **changes):
        events = []
        study = run_study(define(**changes), url, workers=workers, notify=events.append)
        return study, url, events

    return run


@pytest.fixture(scope="session")
def ends():
    """Whether a process that is no child of this one ends within some seconds: `ends(pid, within=2)`."""

    def ended(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    def wait(pid, *, within):
        deadline = time.monotonic() + within
        while not ended(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return False
            time.sleep(0.02)
        return True

    return wait


def _call(*arguments):
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["branchfold", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            commands.main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return Answer(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def branchfold():
    """The command line: `branchfold("show", "digits")`."""
    return _call


@pytest.fixture
def refused(branchfold):
    """The one line of a command that is refused."""

    def call(*arguments):
        answer = branchfold(*arguments)
        assert answer.status == 2, answer
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        assert answer.err.endswith("\n")
        return answer.err.removeprefix("error: ").strip()

    return call


@pytest.fixture(scope="session")
def command_line():
    """The command and the environment of a true process."""
    return [str(Path(sys.executable).with_name("branchfold"))], {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a study that `branchfold run` finished, and what it printed; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        _time_nothing(patch)
        answer = _call("run", "tiny.toml")
    assert answer.status == 0, answer
    return folder, answer


@pytest.fixture
def here(tmp_path, toml):
    """A working directory with the tiny study's definition."""
    (tmp_path / "tiny.toml").write_text(toml)
    with contextlib.chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def copy(finished, tmp_path):
    """A working directory with the finished study."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="session")
def before_finalists(define, tmp_path_factory):
    """The folder of a finished study whose finalists are still to be trained, and its definition."""
    folder, search = tmp_path_factory.mktemp("before"), {"pruner": "none", "sampler": "random"}
    changes = {"search": {**search, "recipes": ["fold-at-once"], "finalists": 2}, "trial": {"epochs": 1}}
    definition = define(**changes)
    changes["search"]["finalists"] = 1
    with pytest.MonkeyPatch.context() as patch:
        _time_nothing(patch)
        run_study(define(**changes), f"sqlite:///{folder}/s.db", workers=1, notify=lambda event: None)
    return folder, definition


@pytest.fixture(scope="session")
def finals(before_finalists, tmp_path_factory):
    """It with its finalists; (study, storage, url, definition, events of their training); tests must not change it."""
    folder, definition = before_finalists
    shutil.copytree(folder, copy := tmp_path_factory.mktemp("finals") / "copy")
    url, events = f"sqlite:///{copy}/s.db", []
    with pytest.MonkeyPatch.context() as patch:
        _time_nothing(patch)
        study = run_study(definition, url, workers=1, notify=events.append)
    return study, open_storage(url, create=False), url, definition, events


@pytest.fixture(scope="session")
def latency():
    """What networks are said to need where latency is not the subject."""
    return LATENCY
