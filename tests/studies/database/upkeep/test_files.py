"""Files that nothing names are found, and no other is ever touched; a trial is deleted with its own."""

import os
import shutil
import sqlite3
import time
from contextlib import closing

import optuna
import pytest

from branchfold.errors import StudyError
from branchfold.studies.database.places.artifacts import attach_network, save_baseline, upload_network
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.upkeep.deletion import delete_trial
from branchfold.studies.database.upkeep.files import left_files, remove_files
from branchfold.studies.definition.reading import load_definition

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


@pytest.fixture
def keep(storage, tmp_path):
    """Makes a study with a baseline and a trial that has a network; its files."""

    def keep(name):
        study, store = (
            open_study(storage, load_definition("digits", [f"study.name={name}"])),
            artifact_store(storage.url),
        )
        (tmp_path / "net").write_text(name)
        baseline = save_baseline(study, storage, store, tmp_path / "net", {"metric": 0.9})
        trial = study.ask()
        network = attach_network(trial, storage, store, tmp_path / "net", metric=0.5, recipe={"shape": "knee"})
        study.tell(trial, 0.5)
        return study, {baseline["network"], baseline["copy"], network}

    return keep


def left(storage):
    return {file.path.name for file in left_files(storage)}


class TestLeftFiles:
    def test_are_those_of_studies_deleted_elsewhere(self, storage, keep, tmp_path):
        keep("stays")
        _, files = keep("goes")
        folder = artifact_store(storage.url).folder
        (folder / "mine.txt").write_text("never noted")
        (folder / "0f0e0d0c-0b0a-4908-8706-050403020100").write_text("another database's")
        assert left(storage) == set()
        optuna.delete_study(storage=optuna.storages.RDBStorage(storage.url), study_name="goes")
        assert left(storage) == files
        before = {path.name for path in folder.iterdir()}
        assert remove_files(storage, left(storage)) == 3
        assert {path.name for path in folder.iterdir()} == before - files
        assert left(storage) == set()

    def test_are_not_what_another_database_in_the_folder_names(self, storage, keep, tmp_path):
        _, files = keep("goes")
        storage.engine.dispose()
        shutil.copy(tmp_path / "s.db", tmp_path / "s.db.before-1")
        optuna.delete_study(storage=optuna.storages.RDBStorage(storage.url), study_name="goes")
        assert left(storage) == set()
        (tmp_path / "s.db.before-1").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
        with pytest.raises(StudyError, match="lies in the same folder and cannot be read"):
            left(storage)
        (tmp_path / "s.db.before-1").unlink()
        assert left(storage) == files

    def test_are_unfinished_drafts_of_yesterday(self, storage, keep):
        keep("a")
        folder = artifact_store(storage.url).folder
        for name, age in (("." + "a" * 32, 25), ("." + "b" * 32, 1), (".hidden", 99)):
            (folder / name).touch()
            os.utime(folder / name, (time.time() - 3600 * age,) * 2)
        assert left(storage) == {"." + "a" * 32}

    def test_are_what_the_dashboard_took_off_the_list_and_nothing_else_names(self, storage, keep, tmp_path):
        study, _ = keep("a")
        extra = upload_network(study, storage, artifact_store(storage.url), tmp_path / "net")["network"]
        with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
            connection.execute("INSERT INTO files VALUES (?)", [extra])
        assert left(storage) == set()
        storage.set_study_system_attr(study._study_id, f"artifacts:{extra}", '"null"'[1:-1])
        assert left(storage) == {extra}


class TestTrial:
    def test_is_deleted_with_its_network_and_keeps_its_number(self, storage, keep):
        study, _ = keep("a")
        other = study.ask()
        study.tell(other, 0.25)
        [network] = {study.trials[0].user_attrs["network"]}
        assert delete_trial(storage, study, study.trials[0]) == 1
        assert not (artifact_store(storage.url).folder / network).exists()
        fresh = load_study(open_storage(storage.url, create=False), "a")
        assert [row.state for row in trial_rows(fresh)] == ["fail", "complete"]
        assert fresh.trials[0].user_attrs == {"note": "deleted"}
        assert fresh.best_trial.number == 1
        assert fresh.ask().number == 2

    def test_leaves_a_network_that_another_trial_has_too(self, storage, keep):
        study, _ = keep("a")
        again = study.ask()
        for key, value in study.trials[0].user_attrs.items():
            again.set_user_attr(key, value)
        study.tell(again, 0.5)
        assert delete_trial(storage, study, study.trials[0]) == 0
        assert delete_trial(storage, study, study.trials[1]) == 1
