"""A training that is stopped and goes on ends with the very weights of one that was never stopped."""

import dataclasses
import errno
import os
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from branchfold.errors import NetworkError
from branchfold.models.networks.given import give
from branchfold.search.data.own.given import give_data
from branchfold.search.events import Notice
from branchfold.search.run.repeating.runs import with_length
from branchfold.search.schedules import make_schedule
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.training import checkpoint as checkpoint_module
from branchfold.search.training.arithmetic import Arithmetic
from branchfold.search.training.checkpoint import Checkpoint
from branchfold.search.training.states import fill, tensors_of
from branchfold.search.trial.baseline import train
from branchfold.search.trial.problem import Problem, new_network
from branchfold.search.trial.trial import run_trial
from branchfold.studies.definition.live import live_definition
from branchfold.studies.definition.reading import load_definition

ABOUT = {"trial": 0}
WIDTHS = {"features.0": 3, "features.3": 8, "features.7": 7, "features.10": 9, "features.14": 12}


class Stopped(Exception):  # noqa: N818
    pass


class Stopping(Checkpoint):
    """Saves before the step of a number, counted from the start of the process, which is then at its end."""

    def __init__(self, path, step):
        super().__init__(path, ABOUT)
        self.left = step

    @property
    def is_due(self):
        self.left -= 1
        return self.left < 0

    def save(self, state):
        super().save(state)
        raise Stopped


def recipe(shape="linear", fade=0.5, widths=WIDTHS, stages=None, training=None, **changes):
    sequence = tuple(widths)
    return Recipe(
        shape=shape,
        parameters=make_schedule(shape).parameters,
        fade=fade,
        widths=widths,
        training=Training(**({"lr": 0.02} | (training or {}))),
        stages=Stages(**({"sequence": sequence} | (stages or {}))),
        **changes,
    )


def trained(given, problem, baseline, checkpoint=None):
    """(weights, reports, compute, the reports that were told again) of a trial."""
    told, again = [], []

    def goes_on(reports, seconds, elapsed):
        again.extend(reports)
        assert 0 < seconds[0] <= seconds[-1] <= elapsed
        assert len(seconds) == len(reports)

    result = run_trial(
        given, baseline, problem, seed=5, on_report=told.append, checkpoint=checkpoint, on_resume=goes_on
    )
    return tensors_of(result.network), [r.to_dict() for r in result.reports], result.compute, (again, told)


def resumed(given, problem, baseline, path, *stops):
    """Likewise of a trial that stops before these steps and goes on each time, with other random states in between."""
    for step in stops:
        with pytest.raises(Stopped):
            trained(given, problem, baseline, Stopping(path, step))
        torch.manual_seed(99 + step)
        np.random.seed(step)
        random.seed(step)
    return trained(given, problem, baseline, Checkpoint(path, ABOUT))


def assert_same(one, other):
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())
    assert one[1:3] == other[1:3]


@pytest.fixture(scope="module")
def small(define):
    """Fourteen steps in two epochs."""
    problem = Problem.of(define(data={"limit": 120}, trial={"batch_size": 16}))
    return problem, new_network(problem.definition).eval()


CASES = {
    "in the midst of an epoch and of a stage": ({}, [4]),
    "twice, the second time between two epochs": ({"blending": "probability"}, [3, 4]),
    "after a fold of a stage": (
        {"stages": {"count": 3, "order": "forward"}, "fade": 0.9, "training": {"train_original": False}},
        [7],
    ),
    "a schedule that watches the loss, a teacher, restarts, random images, the gradient's norm": (
        {
            "shape": "plateau",
            "fade": 0.8,
            "blending": "uniform",
            "zero_loss": 0.3,
            "training": {"distillation": 0.6, "augment": "cut-out+trivial", "clip": 0.5, "restarts": "stages"},
        },
        [8],
    ),
    "folded before the first step, in bfloat16": ({"shape": "instant", "training": {"precision": "bfloat16"}}, [1]),
}


@pytest.mark.usefixtures("quick_latency")
class TestTrial:
    @pytest.mark.parametrize("case", CASES)
    def test_ends_bit_by_bit_as_if_never_stopped(self, small, tmp_path, case):
        changes, stops = CASES[case]
        given = recipe(**changes)
        reference = trained(given, *small)
        found = resumed(given, *small, tmp_path / "c", *stops)
        assert_same(found, reference)
        again, told = found[3]
        assert [r.number for r in again] + [r.number for r in told] == [0, 1, 2]
        assert again

    def test_by_compute(self, small, tmp_path):
        problem, baseline = small
        problem = with_length(problem, {"compute": 0.7})
        reference = trained(recipe(), problem, baseline)
        assert_same(resumed(recipe(), problem, baseline, tmp_path / "c", 5), reference)

    @pytest.mark.parametrize("name", ["autoencoder", "shapes"])
    def test_of_other_tasks(self, name, tmp_path):
        sets = ["data.limit=16", "model.width=0.25", "trial.epochs=2", "trial.batch_size=8", "baseline.epochs=1"]
        problem = Problem.of(load_definition(name, [*sets, "trial.calibration_examples=16"]))
        baseline = new_network(problem.definition).eval()
        widths = {g.name: max(1, g.width // 2) for g in problem.costs.groups if g.prunable}
        given = recipe(widths=widths, training={"distillation": 0.5})
        assert_same(resumed(given, problem, baseline, tmp_path / "c", 3), trained(given, problem, baseline))

    def test_in_another_memory_format_with_what_the_baseline_teaches_known(self, small, tmp_path):
        problem, baseline = small
        problem = dataclasses.replace(problem, arithmetic=Arithmetic("bfloat16", "channels_last"))
        given = recipe(training={"distillation": 0.5, "augment": False}, stages={"count": 2})
        assert_same(resumed(given, problem, baseline, tmp_path / "c", 9), trained(given, problem, baseline))

    def test_of_a_users_own_data_that_draw_from_all_generators(self, tmp_path):
        problem = Problem.of(own_definition())
        assert problem.calibration_batches  # drawn once for all trials
        assert problem.recalibration_batches
        baseline, given = new_network(problem.definition).eval(), recipe(widths={"0": 4})
        assert_same(resumed(given, problem, baseline, tmp_path / "c", 4), trained(given, problem, baseline))


class TestBaseline:
    @pytest.mark.parametrize("step", [4, 7])
    def test_ends_bit_by_bit_as_if_never_stopped(self, small, tmp_path, step):
        problem = with_baseline(small[0], epochs=2, batch_size=16)
        never, stopped, heard, again = new_network(problem.definition), new_network(problem.definition), [], []
        train(never, problem, heard.append)
        with pytest.raises(Stopped):
            train(new_network(problem.definition), problem, again.append, Stopping(tmp_path / "c", step))
        np.random.seed(1)
        train(stopped, problem, again.append, Checkpoint(tmp_path / "c", ABOUT))
        assert_same((tensors_of(never), 0, 0), (tensors_of(stopped), 0, 0))
        lines = [event.text for event in again if isinstance(event, Notice)]
        assert lines == [f"the baseline's training goes on in epoch {step // 7 + 1} of 2"]
        assert [event for event in again if not isinstance(event, Notice)] == heard


class TestCheckpoint:
    def test_is_written_no_oftener_than_it_may_cost(self, tmp_path, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(checkpoint_module.time, "monotonic", lambda: now[0])
        kept = Checkpoint(tmp_path / "c", ABOUT)
        assert not kept.is_due
        now[0] += 20
        assert kept.is_due
        monkeypatch.setattr(checkpoint_module.torch, "save", lambda *_: now.__setitem__(0, now[0] + 3.0))
        kept.save({})
        now[0] += 149
        assert not kept.is_due  # 3 s of 150 s are 2 %
        now[0] += 1
        assert kept.is_due

    def test_of_something_else_or_damaged_is_none(self, tmp_path):
        path = tmp_path / "c"
        Checkpoint(path, ABOUT).save({"x": 1})
        assert Checkpoint(path, ABOUT).load()["x"] == 1
        assert Checkpoint(path, {"trial": 1}).load() is None
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert Checkpoint(path, ABOUT).load() is None
        torch.save({"format": 1, "about": ABOUT, "network": new_code}, path)
        assert Checkpoint(path, ABOUT).load() is None  # nothing is unpickled
        path.unlink()
        assert Checkpoint(path, ABOUT).load() is None

    def test_without_room_leaves_the_one_before(self, tmp_path, monkeypatch):
        said = []
        kept = Checkpoint(tmp_path / "c", ABOUT, failed=said.append)
        kept.save({"x": 1})

        def full(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(checkpoint_module.torch, "save", full)
        kept.save({"x": 2})
        assert said == [f"cannot write {tmp_path / 'c'}: No space left on device"]
        assert kept.load()["x"] == 1
        assert [file.name for file in tmp_path.iterdir()] == ["c"]

    def test_of_another_network_is_refused(self):
        with pytest.raises(NetworkError, match="a checkpoint of another network: bias"):
            fill(nn.Linear(2, 3), {"weight": torch.ones(3, 2)})
        with pytest.raises(NetworkError, match=r"another network: weight is torch.float32 \(3, 1\) there"):
            fill(nn.Linear(2, 3), {"weight": torch.ones(3, 1), "bias": torch.ones(3)})


def new_code():
    raise AssertionError


class Noisy(Dataset):
    """Draws from torch's, NumPy's and Python's own generators, as training sets do."""

    def __len__(self):
        return 64

    def __getitem__(self, i):
        noise = float(torch.rand(())) + np.random.rand() + random.random()
        return torch.full((1, 6, 8), i % 2 + 0.2 * noise), i % 2


def own_definition():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    given = {"network": give(network), "data": give_data((Noisy(), Noisy()))}
    tables = {"study": {"name": "mine"}, "trial": {"epochs": 2, "batch_size": 16}, "data": {"workers": 0}}
    return live_definition(tables, given)


def with_baseline(problem, **keys):
    table = problem.definition.baseline.model_copy(update=keys)
    return dataclasses.replace(problem, definition=problem.definition.model_copy(update={"baseline": table}))
