"""Files of a study at a place that is no folder of this machine, named in the storage's URL."""

import pickle
from urllib.parse import urlencode

import optuna
import pytest
import torch

from branchfold.errors import StudyError
from branchfold.search.events import Notice
from branchfold.search.run.checkpoints import Checkpoints, checkpoint_folder
from branchfold.studies.database.places.addresses import location_in, parse_url
from branchfold.studies.database.places.artifacts import fetch_network, load_baseline, save_baseline, upload_network
from branchfold.studies.database.places.locations import folder_at
from branchfold.studies.database.places.store import artifact_folder, artifact_store, check_artifact_folder
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.upkeep.copying import copy_database
from branchfold.studies.database.upkeep.files import left_files, remove_files
from branchfold.studies.definition.reading import load_definition

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


@pytest.fixture
def url(tmp_path, request):
    """Of a SQLite database whose files lie in the memory of this process, a place of its own for each test."""
    pytest.importorskip("upath", reason="universal_pathlib is not installed")
    return f"sqlite:///{tmp_path}/s.db?artifacts=memory://{request.node.name}/studies"


def test_the_place_is_no_drivers_business(url):
    assert location_in(url).startswith("memory://")
    assert "artifacts" not in str(parse_url(url))
    assert location_in("postgresql://me@server/x") is None
    assert (
        artifact_folder("postgresql://server/x?artifacts=/shared/a&sslmode=require").as_posix() == "/shared/a/artifacts"
    )
    storage = open_storage(url, create=True)
    again = pickle.loads(pickle.dumps(storage))
    assert location_in(storage.url) == location_in(again.url) == location_in(url)
    assert open_study(again, load_definition("digits")).trials == []


def test_networks_are_kept_and_read_there(url, tmp_path):
    check_artifact_folder(url)
    storage, store = open_storage(url, create=True), artifact_store(url)
    study = open_study(storage, load_definition("digits"))
    (tmp_path / "net").write_bytes(b"weights")
    trial = study.ask()
    for key, value in upload_network(trial, storage, store, tmp_path / "net").items():
        trial.set_user_attr(key, value)
    save_baseline(study, storage, store, tmp_path / "net", {"metric": 0.9, "examples": 5})
    fetch_network(study, study.trials[0], store, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"weights"
    record = load_baseline(study, store, tmp_path / "baseline")
    names = {file.name for file in artifact_folder(url).iterdir()}
    assert names == {study.trials[0].user_attrs["network"], record["network"], record["copy"]}  # and no draft
    store.remove(record["network"])
    told = []
    load_baseline(study, store, tmp_path / "baseline", told.append)
    assert ["restored" in line for line in told] == [True]
    with (artifact_folder(url) / study.trials[0].user_attrs["network"]).open("wb") as file:
        file.write(b"weights?")
    with pytest.raises(StudyError, match="is damaged"):
        fetch_network(study, study.trials[0], store, tmp_path / "back")
    assert not (tmp_path / "artifacts").exists()


def test_a_study_moves_there_and_is_tidied_there(url, tmp_path):
    here = f"sqlite:///{tmp_path}/first/s.db"
    storage = open_storage(here, create=True)
    study = open_study(storage, load_definition("digits"))
    (tmp_path / "net").write_bytes(b"weights")
    save_baseline(study, storage, artifact_store(here), tmp_path / "net", {"metric": 0.9, "examples": 5})
    assert copy_database(here, url).files == 2
    moved, folder = open_storage(url, create=False), artifact_folder(url)
    assert {file.name for file in folder.iterdir()} == {file.name for file in artifact_folder(here).iterdir()}
    assert copy_database(url, f"sqlite:///{tmp_path}/back/s.db").files == 2
    assert (tmp_path / "back" / "artifacts" / study.user_attrs["baseline"]["network"]).read_bytes() == b"weights"
    (folder / f".{'a' * 32}").touch()  # a draft that somebody is writing
    assert left_files(moved) == []
    optuna.delete_study(storage=moved, study_name="digits")
    left = left_files(moved)
    assert [file.size for file in left] == [7, 7]
    assert remove_files(moved, {file.path.name for file in left}) == 2
    assert [file.name for file in folder.iterdir()] == [f".{'a' * 32}"]


def test_checkpoints_lie_there_too(url):
    heard: list[Notice] = []
    checkpoints = Checkpoints(url, heard.append)
    checkpoint = checkpoints.of_baseline(load_definition("digits"))
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.arange(3)})
    assert [file.name for file in checkpoint_folder(url).iterdir()] == [checkpoint.path.name]
    checkpoints.sweep(open_storage(url, create=True))  # a new one stays
    again = Checkpoints(url, heard.append).of_baseline(load_definition("digits")).load()
    assert torch.equal(again["weights"], torch.arange(3))
    checkpoint.remove()
    assert checkpoint.load() is None
    assert heard == []


def test_what_cannot_be_written_there_is_told_and_the_training_goes_on(url, monkeypatch):
    heard: list[Notice] = []
    checkpoint = Checkpoints(url, heard.append).of_baseline(load_definition("digits"))

    def fail(*args, **kwargs):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(type(checkpoint.path), "open", fail)
    checkpoint.save({})
    assert [("Connection refused" in notice.text) for notice in heard] == [True]
    with pytest.raises(StudyError, match=r"may not be written: .*Connection refused"):
        check_artifact_folder(url)


def test_what_cannot_be_reached_to_be_read_is_told_in_one_line(url, monkeypatch, tmp_path):
    store = artifact_store(url)

    def fail(*args, **kwargs):
        raise RuntimeError("Could not connect to the endpoint")

    monkeypatch.setattr(type(store.folder), "open", fail)
    with pytest.raises(StudyError, match=r"cannot reach memory://.*: Could not connect to the endpoint"):
        store.open_reader("a")


@pytest.mark.parametrize("location", ["s3://id:hush@bucket/x", "s3://bucket/x?secret=hush"])
def test_secrets_have_no_place_in_it(location):
    query = urlencode({"artifacts": location})
    with pytest.raises(StudyError, match="artifacts= in the storage's URL holds more than a place") as caught:
        parse_url(f"postgresql://server/x?{query}")
    assert "hush" not in str(caught.value)


def test_a_kind_of_place_that_nobody_knows_is_told():
    pytest.importorskip("upath", reason="universal_pathlib is not installed")
    with pytest.raises(StudyError, match=r"artifacts=nowhere://…: no such kind of place is known"):
        folder_at("nowhere://x/y")


@pytest.mark.parametrize("name", ["", "..", "../s.db", "/etc/passwd", "a/b", "a\\b"])
def test_a_name_leads_nowhere_else(name, tmp_path):
    store = artifact_store(f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(ValueError, match="Invalid artifact_id"):
        store.open_reader(name)
    with pytest.raises(ValueError, match="Invalid artifact_id"):
        store.remove(name)
