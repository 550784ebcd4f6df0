"""What a baseline says of the training images is one file of its study's, whole or made again."""

import optuna
import pytest

from branchfold.studies.database.companions import REFINED, open_companion
from branchfold.studies.database.places.artifacts import save_baseline
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.teaching import keep_taught, taught_file
from branchfold.studies.database.upkeep.copying import copy_database
from branchfold.studies.database.upkeep.files import left_files
from branchfold.studies.database.upkeep.overview import delete_study
from branchfold.studies.definition.reading import load_definition


@pytest.fixture
def storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


@pytest.fixture
def study(storage, tmp_path):
    study = open_study(storage, load_definition("digits"))
    (tmp_path / "net").write_bytes(b"weights")
    save_baseline(study, storage, artifact_store(storage.url), tmp_path / "net", {"metric": 0.9, "arithmetic": {}})
    return study


@pytest.fixture
def store(storage):
    return artifact_store(storage.url)


def file_of(study, store):
    return store.folder / study.user_attrs["baseline"]["taught"]


def test_is_there_once_it_is_kept(study, store):
    before = study.user_attrs["baseline"]
    assert taught_file(study, store) is None
    assert keep_taught(study, store, b"outputs", 0.5)
    assert taught_file(study, store) == b"outputs"
    after = study.user_attrs["baseline"]
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"taught", "taught_checksum", "taught_compute"}


def test_of_two_that_are_made_at_once_the_first_stays_and_both_were_paid(study, store):
    keep_taught(study, store, b"first", 0.5)
    assert not keep_taught(study, store, b"second", 0.25)
    assert taught_file(study, store) == b"first"
    assert study.user_attrs["baseline"]["taught_compute"] == 0.75
    assert len(list(store.folder.glob("*.taught"))) == 1


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"output")])
def test_what_is_gone_or_damaged_is_made_again(study, store, harm):
    keep_taught(study, store, b"outputs", 0.5)
    harm(file_of(study, store))
    assert taught_file(study, store) is None
    assert keep_taught(study, store, b"outputs", 0.5)
    assert taught_file(study, store) == b"outputs"
    assert study.user_attrs["baseline"]["taught_compute"] == 1.0
    assert len(list(store.folder.glob("*.taught"))) == 1


def test_goes_with_its_study(study, store, storage):
    keep_taught(study, store, b"outputs", 0.5)
    delete_study(storage, study)
    assert list(store.folder.iterdir()) == []


def test_is_left_where_its_study_was_deleted_elsewhere(study, store, storage):
    keep_taught(study, store, b"outputs", 0.5)
    file = file_of(study, store)
    assert left_files(storage) == []
    optuna.delete_study(storage=optuna.storages.RDBStorage(storage.url), study_name="digits")
    assert file in {each.path for each in left_files(storage)}


def test_is_copied_with_its_study(study, store, storage, tmp_path):
    keep_taught(study, store, b"outputs", 0.5)
    target = f"sqlite:///{tmp_path}/other/t.db"
    assert copy_database(storage.url, target).files == 3
    there = open_storage(target, create=False)
    copied = optuna.load_study(storage=there, study_name="digits")
    assert taught_file(copied, artifact_store(target)) == b"outputs"


def test_a_companion_reads_it_and_its_cost_is_the_studys(study, store, storage):
    keep_taught(study, store, b"outputs", 0.5)
    companion = open_companion(
        storage, study, REFINED, directions=study.directions, metrics=["accuracy"], told=pytest.fail
    )
    assert taught_file(companion, store) == b"outputs"
    assert "taught_compute" not in companion.user_attrs["baseline"]
    assert open_companion(storage, study, REFINED, directions=study.directions, metrics=["accuracy"], told=pytest.fail)
