"""A study's baseline is asked once what it says of the training images; whoever trains later reads it."""

import pytest
import torch

from branchfold.search.events import Notice
from branchfold.search.run import teaching
from branchfold.search.run.repeating.runs import kept_baseline
from branchfold.search.training.teaching import known_outputs
from branchfold.search.trial.problem import Problem
from branchfold.studies.database.places.store import NetworkStore, artifact_folder
from branchfold.studies.database.storage import open_storage, stored_definition


@pytest.fixture
def asked(monkeypatch):
    """The numbers of images of each time that a baseline was asked."""
    times = []

    def counted(teacher, data, arithmetic, device):
        times.append(len(data.train))
        return known_outputs(teacher, data, arithmetic, device)

    monkeypatch.setattr(teaching, "known_outputs", counted)
    return times


def told(events):
    return [event.text for event in events if isinstance(event, Notice)]


def test_is_asked_once_whatever_runs_then(study_run, asked):
    small = {"space__schedule": {"shape": "instant"}, "search": {"finalists": 2, "recipes": ["fold-at-once"]}}
    study, url, events = study_run(study={"trials": 1}, **small)
    assert asked == [320]
    line = "the baseline's outputs for the 320 training images are computed, once for all trials: 0.33 epochs of its "
    assert told(events).count(f"{line}training's compute") == 1
    assert study.user_attrs["baseline"]["taught_compute"] == pytest.approx(1 / 3)
    assert stored_definition(study).space.training.distillation.value == 0.5
    assert study.trials[0].user_attrs["recipe"]["training"]["augment"] == "flip"
    study, _, _ = study_run(url=url, study={"trials": 2}, **small)  # with the finalists
    assert asked == [320]
    [file] = artifact_folder(url).glob("*.taught")
    file.write_bytes(file.read_bytes()[:-1])
    study, _, events = study_run(url=url, study={"trials": 3}, **small)
    assert asked == [320, 320]
    assert study.user_attrs["baseline"]["taught_compute"] == pytest.approx(2 / 3)


def test_what_is_read_is_what_it_says(study_run):
    study, url, _ = study_run(study={"trials": 1})
    problem = Problem.of(stored_definition(study))
    with kept_baseline(study, open_storage(url, create=False), problem, pytest.fail) as (network, ready):
        expected = known_outputs(network, problem.data, ready.arithmetic, torch.device("cpu"))
        assert torch.equal(ready.taught(network, "flip"), expected)
        assert ready.taught(network, "shift-flip") is None
        ready.known.zero_()
        assert ready.taught(network, False).abs().sum() == 0  # what was kept, not computed anew


def test_a_study_that_does_not_distil_asks_nothing(study_run, asked):
    study, url, events = study_run(study={"trials": 1}, space__training={"distillation": 0.0})
    assert asked == []
    assert list(artifact_folder(url).glob("*.taught")) == []
    assert "taught" not in study.user_attrs["baseline"]
    assert not any("baseline's outputs" in line for line in told(events))


def test_where_it_cannot_be_kept_trials_run_all_the_same(study_run, asked, monkeypatch):
    def full(self, name, content):
        if name.endswith(".taught"):
            raise OSError(28, "No space left on device")
        write(self, name, content)

    write = NetworkStore.write
    monkeypatch.setattr(NetworkStore, "write", full)
    study, _, events = study_run(study={"trials": 1})
    assert asked == [320]
    assert (
        "cannot keep what the baseline says of the training images: No space left on device; the next run computes "
        "it again" in told(events)
    )
    assert study.trials[0].user_attrs["recipe"]["training"]["distillation"] == 0.5
