import os
import time

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy import text

from branchfold.errors import StudyError
from branchfold.studies.database.beginnings import beginning, beginnings
from branchfold.studies.database.companions import REFINED, SCREENING, open_companion
from branchfold.studies.database.places.artifacts import upload_network
from branchfold.studies.database.places.store import artifact_folder, artifact_store
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import Measurement
from branchfold.studies.database.upkeep.overview import Companion, StudyRow, belongings, delete_study, study_rows
from branchfold.studies.definition.reading import load_definition

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def make(storage, name="digits", accuracies=(), trials=3):
    study = open_study(storage, load_definition("digits", [f"study.name={name}", f"study.trials={trials}"]))
    for accuracy in accuracies:
        found = Measurement(accuracy, 10, 0.1, 10, 0.1, 1.0, 0.5)
        study.add_trial(create_trial(value=accuracy, user_attrs=found._asdict()))
    return study


def beside(storage, study, kind):
    found = open_companion(
        storage, study, kind, directions=[StudyDirection.MINIMIZE], metrics=["loss"], told=pytest.fail
    )
    found.add_trial(create_trial(value=1.0))
    return found


def keep(storage, owner, tmp_path, name):
    """Attaches a file to a study or a trial of it."""
    path = tmp_path / f"{name}.safetensors"
    path.write_text(name)
    return upload_network(owner, storage, artifact_store(storage.url), path)["network"]


def networks(storage):
    return sorted(file.read_text() for file in artifact_folder(storage.url).iterdir())


class TestRows:
    def test_say_how_far_each_is_and_what_it_found(self, storage):
        first = make(storage, "first", (0.5, 0.75, 0.625))
        make(storage, "second", (0.5,))
        make(storage, "empty")
        make(storage, "through", (0.5,)).set_user_attr("exhausted", True)
        optuna.create_study(storage=storage, study_name="theirs")
        beside(storage, first, SCREENING)
        assert study_rows(storage) == [
            StudyRow("empty", 0, 3, None, "stopped", []),
            StudyRow("first", 3, 3, 0.75, "finished", [Companion("first-screening", 1)]),
            StudyRow("second", 1, 3, 0.5, "stopped", []),
            StudyRow("theirs", 0, None, None, "foreign", []),
            StudyRow("through", 1, 3, 0.5, "finished", []),
        ]

    def test_finalists_that_train_are_work_of_the_study(self, storage):
        study = make(storage, "digits", (0.5, 0.6, 0.7))
        assert [row.state for row in study_rows(storage)] == ["finished"]
        beside(storage, study, REFINED).ask()
        assert [row.state for row in study_rows(storage)] == ["running"]

    def test_of_a_study_whose_baseline_is_being_made(self, storage):
        make(storage, "second")
        begun = StudyRow("first", 0, 7, None, "beginning", [])
        with beginning(storage.url, "first", 7), beginning(storage.url, "second", 3):
            deadline = time.monotonic() + 10
            while len(beginnings(storage.url)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert study_rows(storage) == [begun, StudyRow("second", 0, 3, None, "stopped", [])]
            # One whose process was killed gives no sign of life any more.
            for file in artifact_folder(storage.url).with_name("checkpoints").iterdir():
                os.utime(file, (0, 0))
            assert beginnings(storage.url) == []
        assert [row.name for row in study_rows(storage)] == ["second"]
        assert list(artifact_folder(storage.url).with_name("checkpoints").iterdir()) == []

    def test_of_a_study_at_work_and_of_what_a_deleted_one_left(self, storage):
        study = make(storage)
        study.ask()
        assert [row.state for row in study_rows(storage)] == ["running"]
        beside(storage, study, REFINED)
        optuna.delete_study(storage=storage, study_name="digits")
        assert study_rows(storage) == [StudyRow("digits-refined", 1, None, None, "companion", [])]


class TestDelete:
    def test_takes_companions_and_networks_and_leaves_the_rest(self, storage, tmp_path):
        study, other = make(storage), make(storage, "other")
        keep(storage, study, tmp_path, "baseline")
        trial = study.ask()
        keep(storage, trial, tmp_path, "trial")
        study.tell(trial, 0.5)
        keep(storage, beside(storage, study, REFINED), tmp_path, "refined")
        keep(storage, other, tmp_path, "other")
        assert belongings(storage, study) == (1, ["digits-refined"], 3)
        assert delete_study(storage, study) == 3
        assert optuna.get_all_study_names(storage) == ["other"]
        assert networks(storage) == ["other"]
        make(storage)  # the name is free

    def test_leaves_networks_that_a_copy_lists_too(self, storage, tmp_path):
        study = make(storage)
        keep(storage, study, tmp_path, "shared")
        optuna.copy_study(from_study_name="digits", from_storage=storage, to_storage=storage, to_study_name="copy")
        assert delete_study(storage, study) == 0
        assert networks(storage) == ["shared"]
        assert delete_study(storage, load_study(storage, "copy")) == 1

    def test_goes_on_where_a_file_is_gone(self, storage, tmp_path):
        study = make(storage)
        (artifact_folder(storage.url) / keep(storage, study, tmp_path, "baseline")).unlink()
        assert delete_study(storage, study) == 0

    def test_is_refused_while_trials_run_there_or_beside_it(self, storage):
        study = make(storage)
        running = study.ask()
        with pytest.raises(StudyError, match="study 'digits' is at work: 1 trial runs; stop what runs it first"):
            delete_study(storage, study)
        study.tell(running, state=TrialState.FAIL)
        beside(storage, study, REFINED).ask()
        with pytest.raises(StudyError, match="study 'digits-refined' is at work"):
            delete_study(storage, study)
        assert len(optuna.get_all_study_names(storage)) == 2

    def test_but_not_for_trials_whose_process_is_dead(self, storage):
        study = make(storage)
        storage.record_heartbeat(study.ask()._trial_id)
        assert [row.state for row in study_rows(storage)] == ["running"]
        with storage.engine.begin() as connection:
            connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
        assert [row.state for row in study_rows(storage)] == ["stopped"]
        delete_study(storage, study)
        assert optuna.get_all_study_names(storage) == []
