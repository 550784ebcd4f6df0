import subprocess
import sys

import pytest
import torch
from optuna_dashboard import get_note
from torch import nn
from torch.nn.functional import cross_entropy

import branchfold.search
from branchfold.errors import BranchfoldError, NetworkError, StudyError
from branchfold.models import load_network
from branchfold.search import parse_definition, run_study
from branchfold.search.events import BaselineReady, TrialEnded
from branchfold.studies.dashboard.notes import MARK
from branchfold.studies.database.optuna_internals import attached_files
from branchfold.studies.database.storage import has_study, open_storage
from branchfold.studies.database.trials import finished_trials


class Near:
    """A task of one's own: the share of outputs that are nearer than a margin."""

    name, higher_is_better = "near", True

    def __init__(self, margin=0.5):
        self.margin = margin

    def loss(self, outputs, targets):
        return cross_entropy(outputs, targets)

    def metric(self, outputs, targets):
        return ((outputs.softmax(1)[:, 1] - targets).abs() < self.margin).float()


def test_public_names_are_found_where_they_are():
    names = ["BestNetwork", "Definition", "Result", "load_definition", "parse_definition", "run_study"]
    assert branchfold.search.__all__ == names  # docs/library.md lists them: tests/docs
    assert all(getattr(branchfold.search, name).__name__ == name for name in names)
    assert set(names) <= set(dir(branchfold.search))
    with pytest.raises(AttributeError, match="no attribute 'run_studies'"):
        _ = branchfold.search.run_studies


def test_public_names_cost_the_command_line_nothing():
    code = "import sys, branchfold.search; print('torch' in sys.modules, 'optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": _path()})
    assert done.stdout == "False False\n", done.stderr


def _path():
    return ":".join(path for path in sys.path if path)


def test_weights_that_are_given_are_the_baseline(ran, make):
    (ready,) = [event for event in ran.events if isinstance(event, BaselineReady)]
    images, labels = make.data()["validation"].tensors
    with torch.no_grad():
        right = (ran.network.eval()(images).argmax(1) == labels).float().mean()
    assert ready.metric == pytest.approx(right.item())
    assert ready.source == "weights given"


def test_the_network_that_is_given_stays_as_it_is(ran, make):
    expected = make.network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in ran.network.state_dict().items())


def test_the_dashboard_has_its_last_notes(ran):
    study = ran.result.study
    assert get_note(study).endswith(MARK)
    attached = attached_files(study)
    assert sum("course.svg" in files for files in attached.values()) == len(finished_trials(study))
    assert f"{study.study_name}.toml" in attached[None]


def test_epochs_train_the_given_network_further(make, tmp_path, quick_latency):
    logger, given = make.logger(), make.network()
    tables = {
        **make.tables,
        "study": {**make.tables["study"], "trials": 1},
        "baseline": {"epochs": 2, "lr": 0.05, "batch_size": 8},
    }
    url = f"sqlite:///{tmp_path}/s.db"
    result = run_study(tables, network=given, data=make.data(), storage=url, loggers=[logger])
    assert result.study.user_attrs["baseline"]["source"] == "weights given, 2 epochs"
    assert [(step, list(found)) for step, found in logger.logged[:2]] == [
        (1, ["baseline/loss", "baseline/metric"]),
        (2, ["baseline/loss", "baseline/metric"]),
    ]


def test_a_study_goes_on_with_equal_objects(ran, make):
    events = []
    again = run_study(make.tables, network=make.network(), data=make.data(), storage=ran.url, callbacks=[events.append])
    assert not any(isinstance(event, TrialEnded) for event in events)
    assert again.best.trial == ran.result.best.trial


@pytest.mark.parametrize("what", ["network", "data"])
def test_a_study_refuses_other_objects(ran, make, what):
    objects = {"network": make.network(int(what == "network")), "data": make.data(int(what == "data"))}
    with pytest.raises(StudyError, match=rf"study 'mine' was begun with another {what} \(given:\w+, now given:\w+"):
        run_study(make.tables, **objects, storage=ran.url)


def test_a_task_of_ones_own_is_an_object(make, tmp_path, quick_latency):
    tables = {**make.tables, "study": {**make.tables["study"], "trials": 1}}
    url, given = f"sqlite:///{tmp_path}/s.db", {"network": make.network(), "data": make.data()}
    result = run_study(tables, **given, task=Near(0.5), storage=url)
    assert result.study.metric_names == ["near"]
    images, labels = make.data()["validation"].tensors
    with torch.no_grad():
        right = (result.best.network(images).argmax(1) == labels).float().mean()
    assert result.best.metric == pytest.approx(right.item())
    with pytest.raises(StudyError, match="another task"):
        run_study(tables, **given, task=Near(0.4), storage=url)


def test_several_workers_ask_for_names(make, tmp_path):
    given = {"network": make.network(), "data": make.data(), "task": Near()}
    url = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(StudyError) as refused:
        run_study(make.tables, **given, workers=2, storage=url)
    assert str(refused.value) == (
        "workers=2: each worker is a process of its own, and network, data and task given as objects lie in this one: "
        'take workers=1, or set model.factory = "path/to/file.py:FACTORY" and data.name = "path/to/file.py:MAKE" and '
        'task.name = "path/to/file.py:TASK"'
    )
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    ("objects", "line"),
    [
        ({"network": "resnet20"}, "network must be a torch.nn.Module, but is str"),
        ({"data": 3}, "data 'int' must return a LightningDataModule"),
        ({"data": {"train": [1]}}, "data 'dict' returned no validation split"),
        ({"task": Near}, "task must be an object with loss and metric, but is the class Near"),
        ({"task": object()}, "has no loss"),
        ({"workers": 0}, "workers must be at least 1, but got 0"),
    ],
)
def test_what_is_no_such_object_is_one_line(make, tmp_path, objects, line):
    given = {"network": make.network(), "data": make.data(), **objects}
    with pytest.raises(BranchfoldError) as refused:
        run_study(make.tables, **given, storage=f"sqlite:///{tmp_path}/s.db")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "s.db").exists()


def test_a_callback_that_raises_ends_the_run_and_its_trial(make, tmp_path, quick_latency):
    class EnoughError(Exception):
        pass

    def stop(event):
        if isinstance(event, TrialEnded):
            raise EnoughError

    url, logger = f"sqlite:///{tmp_path}/s.db", make.logger()
    given = {"network": make.network(), "data": make.data(), "storage": url}
    with pytest.raises(EnoughError):
        run_study(make.tables, **given, callbacks=[stop], loggers=[logger])
    assert logger.ended == "failed"
    assert has_study(open_storage(url, create=False), "mine")
    assert len(run_study(make.tables, **given).study.get_trials(states=[1])) == 2


def test_other_processes_are_told_what_is_missing(ran, monkeypatch, refused, tmp_path, quick_latency):
    from branchfold.models.networks import given

    file = tmp_path / "mine.safetensors"
    ran.result.export(file)
    monkeypatch.setattr(given, "_GIVEN", {})
    name = ran.result.definition.model.factory
    line = refused("export", "mine", "--storage", ran.url, "--output", tmp_path / "other.safetensors")
    assert line.startswith(f"network '{name}' was given as an object by another process, or is another one now")
    assert refused("rerun", "mine", "--storage", ran.url, "--trial", "0").splitlines()[-1] == line
    line = refused("evaluate", file, "--storage", ran.url)
    came = "came as an object from the program that made the file: name it, branchfold evaluate"
    options = "--factory path/to/file.py:FACTORY --data path/to/file.py:MAKE"
    assert line == f"{file}: its network and its data {came} {file} {options}"
    with pytest.raises(NetworkError, match="was given as an object by another process"):
        load_network(file, name)
    factory = tmp_path / "factory.py"
    factory.write_text("from torch import nn\n\n\ndef make():\n    return nn.Linear(1, 1)\n")
    line = refused("evaluate", file, "--storage", ran.url, "--factory", f"{factory}:make")
    assert line == f"{file}: its data {came} {file} --factory {factory}:make --data path/to/file.py:MAKE"


def test_a_definition_object_names_what_is_not_given(make, tmp_path, quick_latency):
    tables = {**make.tables, "model": {"factory": "vgg_digits"}, "data": {"name": "digits", "limit": 96}}
    tables["baseline"] = {"lr": 0.05}
    definition = parse_definition(tables)
    assert definition.baseline.epochs == 30
    with pytest.raises(StudyError, match="gives"):  # a network of two classes for the ten digits
        run_study(definition, network=nn.Sequential(make.network()), storage=f"sqlite:///{tmp_path}/s.db")
