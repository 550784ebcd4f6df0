"""Where a database's files lie is remembered in it, so that a URL without `artifacts` finds them."""

import shutil

import optuna
import pytest

from branchfold.errors import StudyError
from branchfold.search.run.checkpoints import checkpoint_folder
from branchfold.studies.database.places.addresses import location_in
from branchfold.studies.database.places.artifacts import load_baseline, save_baseline
from branchfold.studies.database.places.store import artifact_folder, artifact_store
from branchfold.studies.database.places.whereabouts import located, reachable
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.upkeep.copying import copy_database
from branchfold.studies.database.upkeep.files import left_files

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


@pytest.fixture
def plain(fill, tmp_path):
    """A database's URL without the location that it was made with, `elsewhere`."""
    url = f"sqlite:///{tmp_path}/s.db"
    made = f"{url}?artifacts={tmp_path}/elsewhere"
    storage, study = fill(made)
    (tmp_path / "net").write_bytes(b"network")
    save_baseline(study, storage, artifact_store(made), tmp_path / "net", {"metric": 0.9, "examples": 5})
    return url


def test_a_url_without_it_finds_the_files(plain, tmp_path):
    folder = tmp_path / "elsewhere" / "artifacts"
    for create in (False, True):
        storage = open_storage(plain, create=create)
        assert artifact_folder(storage.url) == folder
        assert checkpoint_folder(storage.url) == tmp_path / "elsewhere" / "checkpoints"
    assert artifact_folder(located(plain)) == artifact_folder(reachable(plain)) == folder
    load_baseline(load_study(storage, "digits"), artifact_store(reachable(plain)), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"network"
    assert not (tmp_path / "artifacts").exists()
    optuna.delete_study(storage=storage, study_name="digits")
    assert {file.path.parent for file in left_files(storage)} == {folder}


def test_a_relative_one_means_the_same_from_everywhere(fill, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    fill(f"sqlite:///{tmp_path}/s.db?artifacts=shared")
    monkeypatch.chdir(tmp_path / "b")
    assert artifact_folder(located(f"sqlite:///{tmp_path}/s.db")) == tmp_path / "a" / "shared" / "artifacts"


def test_another_one_is_refused_until_the_files_are_there(plain, tmp_path):
    new = tmp_path / "new"
    for create in (False, True):
        with pytest.raises(
            StudyError, match=rf"no file of .*s\.db lies in {new}/artifacts: they belong to .*elsewhere"
        ):
            open_storage(f"{plain}?artifacts={new}", create=create)
    assert not new.exists()
    shutil.copytree(tmp_path / "elsewhere", new)
    open_storage(f"{plain}?artifacts={new}", create=False)
    assert "elsewhere" in located(plain)  # who only reads writes nothing
    open_storage(f"{plain}?artifacts={new}", create=True)
    assert location_in(located(plain)) == str(new)


def test_files_that_lie_beside_the_database_stay_where_they_are(fill, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    storage, study = fill(url)
    (tmp_path / "net").write_bytes(b"network")
    save_baseline(study, storage, artifact_store(url), tmp_path / "net", {"metric": 0.9, "examples": 5})
    with pytest.raises(StudyError, match=rf"they belong to {tmp_path}/artifacts"):
        open_storage(f"{url}?artifacts={tmp_path}/new", create=True)
    assert located(url) == url


def test_a_folder_that_is_not_there_is_told_before_an_empty_one_is_made(plain, tmp_path):
    shutil.move(tmp_path / "elsewhere", tmp_path / "unmounted")
    with pytest.raises(StudyError, match=rf"lie in {tmp_path}/elsewhere/artifacts, which is not there: mount it"):
        reachable(plain)
    assert open_storage(plain, create=False).get_all_studies()  # what needs no file needs no folder
    assert not (tmp_path / "elsewhere").exists()
    assert reachable(f"{plain}?artifacts={tmp_path}/unmounted").endswith("unmounted")


def test_a_copy_has_its_own(plain, tmp_path):
    target = f"sqlite:///{tmp_path}/copy/t.db"
    copy_database(plain, target)
    assert artifact_folder(located(target)) == tmp_path / "copy" / "artifacts"
    again = f"sqlite:///{tmp_path}/again/t.db"
    copy_database(target, f"{again}?artifacts={tmp_path}/there")
    assert artifact_folder(located(again)) == tmp_path / "there" / "artifacts"
    assert len(list((tmp_path / "there" / "artifacts").iterdir())) == 2


def test_a_server_remembers_too(empty_postgresql, tmp_path):
    sign = "&" if "?" in empty_postgresql else "?"
    open_storage(f"{empty_postgresql}{sign}artifacts={tmp_path}/shared", create=True)
    assert artifact_folder(located(empty_postgresql)) == tmp_path / "shared" / "artifacts"
    assert artifact_folder(open_storage(empty_postgresql, create=False).url) == tmp_path / "shared" / "artifacts"
