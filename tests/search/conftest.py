"""A tiny study on the digits, run in this process, and the command line as a function."""

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from branchfold.search.console import commands
from branchfold.search.exports import delivery
from branchfold.search.run.processes import run_study
from branchfold.search.trial.baseline import train
from branchfold.search.trial.task import Task, new_network
from branchfold.studies.definition.reading import parse_definition

torch.set_num_threads(1)

TINY = """
[study]
name = "tiny"
budget = { macs = 0.25 }
trials = 3
[model]
factory = "vgg_digits"
width = 0.25
[data]
name = "digits"
limit = 320
validation = 0.2
[baseline]
epochs = 4
batch_size = 32
[trial]
epochs = 2
batch_size = 32
calibration_examples = 64
recalibration_batches = 2
[space.schedule]
shape = ["instant", "linear"]
[search]
startup_trials = 2
recipes = []
"""


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
def task(define):
    return Task.of(define())


@pytest.fixture(scope="session")
def baseline(task):
    """A trained network; tests must not change it."""
    network = new_network(task.definition)
    train(network, task, lambda event: None)
    return network.eval()


@pytest.fixture
def quick_latency(monkeypatch):
    """A second a measurement is long where it is not the subject."""
    monkeypatch.setattr(delivery, "latency_of", lambda network, images: 0.001)


@pytest.fixture
def study_run(define, tmp_path):
    """Runs the tiny definition with changes; (study, url, events)."""

    def run(workers=1, url=f"sqlite:///{tmp_path}/s.db", **changes):
        events = []
        study = run_study(define(**changes), url, workers=workers, tell=events.append)
        return study, url, events

    return run


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
        patch.setattr(delivery, "latency_of", lambda network, images: 0.001)
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
