"""Files that are never overwritten, those that are replaced, and those that need to be asked for."""

import os

import pytest
from torch import nn

from branchfold.errors import StudyError
from branchfold.models.checkpoints import NetworkDescription, save_network
from branchfold.search.exports.places import check_output, sources_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a database, its networks, a definition and a checkpoint; everything in it by content."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies" / "artifacts").mkdir(parents=True)
    for name in ("studies/s.db", "studies/artifacts/abc", "own.toml", "start.safetensors", "net.py", "note.txt"):
        (tmp_path / name).write_text(name)
    save_network(nn.Linear(2, 2), tmp_path / "start.safetensors", NetworkDescription("own", {}, [2]))
    save_network(nn.Linear(2, 2), tmp_path / "old.safetensors", NetworkDescription("own", {}, [2]))
    return tmp_path


def check(path, **options):
    check_output(path, url="sqlite:///studies/s.db", sources=("own.toml", "start.safetensors", "net.py"), **options)


NEVER = [
    "studies/s.db",
    "studies/s.db-wal",
    "studies/s.db-shm",
    "studies/s.db-journal",
    "studies/../studies/s.db",
    "studies/artifacts/abc",
    "studies/artifacts/new.safetensors",
    "own.toml",
    "start.safetensors",
    "net.py",
]


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("force", [False, True])
def test_what_a_study_needs_is_never_overwritten(place, name, force):
    with pytest.raises(StudyError, match=r"cannot write .*; choose another --output$"):
        check(place / name, force=force)
    with pytest.raises(StudyError, match=r"cannot write .*; choose another --output$"):
        check((place / name).relative_to(place), force=force)


@pytest.mark.parametrize("name", ["studies/s.db", "studies/artifacts/abc", "own.toml", "start.safetensors", "net.py"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nor_by_a_link(place, name, link):
    link(place / name, place / "link.safetensors")
    with pytest.raises(StudyError, match=r"cannot write .*link.safetensors: .*; choose another --output$"):
        check(place / "link.safetensors", force=True)


def test_nor_through_a_linked_folder(place):
    (place / "elsewhere").symlink_to(place / "studies")
    for name in ("s.db", "artifacts/new"):
        with pytest.raises(StudyError, match="cannot write"):
            check(place / "elsewhere" / name, force=True)
    check_output(place / "new", url=f"sqlite:///{place}/elsewhere/s.db")
    with pytest.raises(StudyError, match="it is the study database"):
        check_output(place / "studies" / "s.db", url=f"sqlite:///{place}/elsewhere/s.db", force=True)


def test_networks_of_branchfold_are_replaced(place):
    check(place / "old.safetensors")
    check(place / "new.safetensors")
    check(place / "deep" / "new.safetensors")
    assert not (place / "deep").exists()


def test_another_file_is_replaced_if_asked_for(place):
    (place / "cut.safetensors").write_bytes((place / "old.safetensors").read_bytes()[:40])
    (place / "nowhere.safetensors").symlink_to(place / "missing")
    for name in ("note.txt", "cut.safetensors", "nowhere.safetensors"):
        with pytest.raises(
            StudyError, match=r"no network that branchfold wrote; choose another --output, or .*--force"
        ):
            check(place / name)
        check(place / name, force=True)


def test_definitions_folders_and_pipes_are_not_even_then(place):
    (place / "other.toml").touch()
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to(place / "loop")
    for name, reason in (("other.toml", "a study's definition"), ("studies", "a folder"), ("pipe", "no ordinary file")):
        with pytest.raises(StudyError, match=reason):
            check(place / name, force=True)
    with pytest.raises(StudyError, match="--force"):
        check(place / "loop")


def test_what_a_study_is_made_from(place, define):
    definition = define(model={"factory": "net.py:make"}, baseline={"epochs": None, "checkpoint": "start.safetensors"})
    assert sources_of(definition, "own.toml") == ("start.safetensors", "net.py", "own.toml")
    (place / "digits").touch()
    assert sources_of(define(), "digits") == ()  # a built-in study, not the file
