"""Where checkpoints lie, and which of them nobody needs any more."""

import os
import time
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from branchfold.search.events import Notice
from branchfold.search.run.checkpoints import Checkpoints, checkpoint_folder, checkpoint_name
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition

HOUR, MONTH = 3600, 31 * 86400

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


def test_lie_beside_the_networks(url, tmp_path):
    assert checkpoint_folder(url) == tmp_path / "checkpoints"


def test_a_trial_that_goes_on_has_its_earlier_name_and_no_path_of_anybodys():
    named = SimpleNamespace(user_attrs={"checkpoint": "0af3"})
    assert checkpoint_name(named) == "0af3"
    for odd in ("../../x", "", "a/b"):
        name = checkpoint_name(SimpleNamespace(user_attrs={"checkpoint": odd}))
        assert (name.isalnum(), len(name)) == (True, 32), odd
    new = SimpleNamespace(user_attrs={})
    assert checkpoint_name(new) != checkpoint_name(new)


def test_baselines_of_one_training_share_a_file_whatever_is_searched(url):
    heard = Checkpoints(url, lambda event: None)
    of = heard.of_baseline
    first = of(load_definition("digits")).path
    assert of(load_definition("digits", ["trial.epochs=3", "study.name=other"])).path == first
    assert of(load_definition("digits", ["baseline.lr=0.01"])).path != first
    assert of(load_definition("digits", ["study.seed=1"])).path != first


def test_what_cannot_be_written_is_told_once(url, tmp_path):
    events = []
    (tmp_path / "checkpoints").touch()
    checkpoint = Checkpoints(url, events.append).of_baseline(load_definition("digits"))
    checkpoint.save({})
    checkpoint.save({})
    assert len(events) == 1
    assert isinstance(events[0], Notice)
    assert events[0].text.startswith(f"cannot write {checkpoint.path}: ")
    assert events[0].text.endswith("could not go on from here after a stop")


def test_sweeping_leaves_what_someone_goes_on_with(url):
    storage = open_storage(url, create=True)
    study, folder = open_study(storage, load_definition("digits")), checkpoint_folder(url)
    running, waiting = study.ask(), {"checkpoint": "waiting"}
    running.set_user_attr("checkpoint", "running")
    ended = study.ask({})
    ended.set_user_attr("checkpoint", "ended")
    study.tell(ended, state=TrialState.FAIL)
    study.enqueue_trial({"x": 1}, user_attrs=waiting)
    folder.mkdir()
    ages = {
        "trial-running": 2 * MONTH,
        "trial-waiting": 2 * MONTH,
        "trial-ended": 2 * HOUR,
        "trial-new": 60,
        ".draft": 2 * HOUR,
        "run-stopped": 2 * HOUR,
        "run-forgotten": MONTH,
        "baseline-forgotten": MONTH,
    }
    for name, age in ages.items():
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    Checkpoints(url, lambda event: None).sweep(storage)
    assert {file.name for file in folder.iterdir()} == {"trial-running", "trial-waiting", "trial-new", "run-stopped"}
