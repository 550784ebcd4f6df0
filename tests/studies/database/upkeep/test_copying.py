"""A database copied to a file or a server and back is the same, with its files."""

import sqlite3
from contextlib import closing

import optuna
import pytest

from branchfold.errors import StudyError
from branchfold.studies.database.places.artifacts import load_baseline, save_baseline
from branchfold.studies.database.places.store import artifact_folder, artifact_store
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.upkeep.copying import copy_database

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def source(fill, tmp_path):
    url = f"sqlite:///{tmp_path}/from/s.db"
    storage, study = fill(url)
    (tmp_path / "net").write_bytes(b"network")
    save_baseline(study, storage, artifact_store(url), tmp_path / "net", {"metric": 0.9, "examples": 5})
    return url


def known(url):
    study = load_study(open_storage(url, create=False), "digits")
    return study.user_attrs, study._storage.get_study_system_attrs(study._study_id), study.trials


def test_to_a_server_and_back(source, empty_postgresql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a server's files lie under the working directory
    assert copy_database(source, empty_postgresql) == (1, 2, 2)
    back = f"sqlite:///{tmp_path}/back/s.db"
    assert copy_database(empty_postgresql, back) == (1, 2, 2)
    assert known(source) == known(empty_postgresql) == known(back)
    study = load_study(open_storage(empty_postgresql, create=False), "digits")
    assert study.ask().number == 2  # the server counts on from the last row
    load_baseline(study, artifact_store(empty_postgresql), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"network"


def test_to_another_file(source, tmp_path):
    target = f"sqlite:///{tmp_path}/to/t.db"
    assert copy_database(source, target) == (1, 2, 2)
    assert len(list(artifact_folder(target).iterdir())) == 2
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["artifacts", "t.db"]
    assert known(source) == known(target)
    with closing(sqlite3.connect(tmp_path / "to" / "t.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_replaces_nothing(source, empty_postgresql, fill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "mine.db"
    place.write_text("mine")
    with pytest.raises(StudyError, match=r"mine\.db is there already and is not replaced"):
        copy_database(source, f"sqlite:///{place}")
    assert place.read_text() == "mine"
    fill(empty_postgresql)
    with pytest.raises(StudyError, match="holds studies already, which stay; choose an empty database"):
        copy_database(source, empty_postgresql)
    other = tmp_path / "to" / "artifacts"
    other.mkdir(parents=True)
    (other / next(artifact_folder(source).iterdir()).name).write_text("another")
    with pytest.raises(StudyError, match=r"is another file than .* and is not replaced"):
        copy_database(source, f"sqlite:///{tmp_path}/to/t.db")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["artifacts"]


def test_of_a_database_without_our_studies(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(storage=f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(StudyError, match="holds no study that branchfold made"):
        copy_database(f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/t.db")
    assert not (tmp_path / "t.db").exists()
