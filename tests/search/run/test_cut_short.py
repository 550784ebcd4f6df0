"""Trials that are stopped, killed or taken over, in a study: nothing is lost, nothing is run twice."""

import os
import shutil
import signal

import pytest
import torch
from optuna.trial import TrialState
from safetensors.torch import load_file

from branchfold.errors import StudyError
from branchfold.search.events import Notice, TrialEnded, TrialReport
from branchfold.search.process.signals import Interrupted
from branchfold.search.run import worker as runner
from branchfold.search.run.checkpoints import checkpoint_folder
from branchfold.search.run.processes import join_study, run_study
from branchfold.search.training.checkpoint import Checkpoint
from branchfold.search.trial.trial import run_trial
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.retries import release_killed
from branchfold.studies.database.storage import load_study, open_storage

CHANGES = {"search": {"pruner": "none", "sampler": "random"}, "trial": {"epochs": 2}}


def states(study):
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def weights(study, trial, url):
    return load_file(artifact_folder(url) / trial.user_attrs["network"])


def files(url):
    folder = checkpoint_folder(url)
    return sorted(file.name.split("-")[0] for file in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def stopped(define, tmp_path, quick_latency):
    """A study of which the second trial was asked to stop at its first milestone; (definition, url, its seed)."""
    definition, url = define(**CHANGES), f"sqlite:///{tmp_path}/s.db"

    def stop(event):
        if isinstance(event, TrialReport) and (event.trial, event.number) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run_study(definition, url, workers=1, notify=stop)
    return definition, url


def test_a_stopped_trial_goes_on_where_it_was_and_ends_as_if_never_stopped(stopped, define, tmp_path):
    definition, url = stopped
    assert files(url) == ["trial"]
    events = []
    study = run_study(definition, url, workers=1, notify=events.append)
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    # Its first milestones are not trained again, and are the trial's all the same.
    assert [event.number for event in events if isinstance(event, TrialReport) and event.trial == 2] == [2]
    assert list(study.trials[2].intermediate_values) == [0, 1, 2]
    assert [report["number"] for report in study.trials[2].user_attrs["history"]] == [0, 1, 2]
    assert study.trials[2].user_attrs["seed"] == 1
    assert files(url) == []

    never_url = f"sqlite:///{tmp_path}/never/s.db"
    never = run_study(definition, never_url, workers=1, notify=lambda event: None)
    one, other = weights(study, study.trials[2], url), weights(never, never.trials[1], never_url)
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())
    assert study.trials[2].value == never.trials[1].value
    assert study.trials[2].user_attrs["compute"] == never.trials[1].user_attrs["compute"]


def test_another_worker_goes_on_with_it(stopped):
    _, url = stopped
    events = []
    study = join_study("tiny", url, data_root=None, device=None, notify=events.append)
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [event.number for event in events if isinstance(event, TrialReport) and event.trial == 2] == [2]


def test_the_baselines_training_goes_on_too(define, tmp_path, quick_latency):
    definition, url, events = define(study={"trials": 1}), f"sqlite:///{tmp_path}/s.db", []

    def stop(event):
        events.append(event)
        if type(event).__name__ == "BaselineEpoch" and event.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run_study(definition, url, workers=1, notify=stop)
    assert files(url) == ["baseline"]
    events.clear()
    run_study(definition, url, workers=1, notify=events.append)
    assert Notice("the baseline's training goes on in epoch 3 of 4") in events
    assert [event.epoch for event in events if type(event).__name__ == "BaselineEpoch"] == [3, 4]
    assert files(url) == []


def test_a_paused_worker_drops_the_trial_that_was_taken_from_it(define, tmp_path, quick_latency):
    """It comes back after others took it for dead, in the midst of its training."""
    definition, url, events = define(**CHANGES), f"sqlite:///{tmp_path}/s.db", []

    def taken(event):
        events.append(event)
        if isinstance(event, TrialReport) and (event.trial, event.number) == (0, 1):
            assert release_killed(load_study(open_storage(url, create=False), "tiny"), 0, "silent")

    study = run_study(definition, url, workers=1, notify=taken)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert Notice("trial 0 goes on elsewhere: this process was silent for too long") in events
    assert study.trials[1].user_attrs["repeats"] == 0
    assert study.trials[1].user_attrs["seed"] == study.trials[0].user_attrs["seed"] == 0
    assert "network" not in study.trials[0].user_attrs
    assert [event.trial for event in events if isinstance(event, TrialEnded)] == [1, 2, 3]
    assert files(url) == []


def test_a_paused_worker_drops_it_also_at_its_very_end(define, tmp_path, quick_latency, monkeypatch):
    definition, url = define(**CHANGES), f"sqlite:///{tmp_path}/s.db"
    real, done = runner.keep_result, []

    def late(*args):
        real(*args)
        if not done:
            done.append(release_killed(load_study(open_storage(url, create=False), "tiny"), 0, "silent"))

    monkeypatch.setattr(runner, "keep_result", late)
    study = run_study(definition, url, workers=1, notify=lambda event: None)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert done == [True]


def test_what_a_machine_lacks_is_the_trials_outcome(study_run, monkeypatch):
    calls = []

    def fail(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return run_trial(*args, **kwargs)

    monkeypatch.setattr(runner, "run_trial", fail)
    study, _, events = study_run(study={"trials": 1}, trial={"epochs": 1})
    assert states(study) == ["FAIL", "COMPLETE"]
    assert study.trials[0].user_attrs["note"].startswith("out of the GPU's memory: CUDA out")
    assert [event.state for event in events if isinstance(event, TrialEnded)] == ["fail", "complete"]


def test_a_database_that_fails_beneath_a_trial_is_told_in_one_line(study_run, monkeypatch):
    from optuna.exceptions import StorageInternalError

    def fail(*args, **kwargs):
        raise StorageInternalError("database or disk is full")

    monkeypatch.setattr(runner, "record_recipe", fail)
    with pytest.raises(StudyError, match=r"cannot use the study database sqlite:.*s\.db: database or disk is full"):
        study_run()


def test_the_end_of_the_users_patience(study_run, monkeypatch, define, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    events = []
    definition = define(study={"trials": 30}, trial={"epochs": 1}, search={"sampler": "random"})
    study = run_study(definition, url, workers=1, notify=events.append, patience=2)
    finished = [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    best = max(finished, key=lambda trial: (trial.value or 0, -trial.user_attrs.get("macs", 0)))
    assert len(finished) == best.number + 1 + 2
    told = f"the best has not improved for 2 trials: the study ends with {len(finished)} trials"
    assert Notice(told) in events


def test_when_the_time_is_up_what_runs_is_kept_and_goes_on(define, tmp_path, quick_latency):
    definition, url, events = define(**CHANGES), f"sqlite:///{tmp_path}/s.db", []

    def up(event):
        events.append(event)
        if isinstance(event, TrialReport) and (event.trial, event.number) == (1, 1):
            signal.raise_signal(signal.SIGALRM)

    study = run_study(definition, url, workers=1, notify=up, timeout=1000)
    assert states(study) == ["COMPLETE", "FAIL", "WAITING"]
    assert events[-1] == Notice("the time is up: 1 of 3 trials are finished; what ran here goes on in the next run")
    assert files(url) == ["trial"]


def test_a_finalists_run_that_is_stopped_goes_on_in_the_next_command(
    before_finalists, tmp_path, quick_latency, monkeypatch
):
    folder, definition = before_finalists
    shutil.copytree(folder, tmp_path / "copy")
    url, events, steps = f"sqlite:///{tmp_path}/copy/s.db", [], []

    def due(checkpoint):
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "is_due", property(due))
        with pytest.raises(Interrupted):
            run_study(definition, url, workers=1, notify=lambda event: None)
    assert files(url) == ["run"]
    run_study(definition, url, workers=1, notify=events.append)
    reports = [event for event in events if isinstance(event, TrialReport)]
    assert [report.number for report in reports[:3]] == [1, 0, 1]  # the first run had told its beginning before
    assert files(url) == []
