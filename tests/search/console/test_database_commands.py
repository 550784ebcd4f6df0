"""The commands about a storage's files: a trial deleted, what is left cleared, all copied; databases that refuse."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import optuna
import pytest

from branchfold.studies.database.storage import open_storage

URL = "sqlite:///studies/branchfold.db"
ARTIFACTS = Path("studies/artifacts")


@pytest.fixture
def unanswered(branchfold, monkeypatch):
    """The last line of a command that asks and has no answer."""

    def ended(prompt):
        raise EOFError

    def call(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(click.termui, "visible_prompt_func", ended)
            answer = branchfold(*arguments)
        assert answer.status == 2
        return answer.err.splitlines()[-1]

    return call


def listed(branchfold, *arguments):
    answer = branchfold("list", *arguments, "--json")
    assert (answer.status, answer.err) == (0, "")
    return json.loads(answer.out)


def test_a_studys_trials_are_listed_with_their_files(copy, branchfold):
    rows = listed(branchfold, "tiny")
    assert [row["number"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert (ARTIFACTS / row["file"]).stat().st_size == row["size"]
        assert len(row["checksum"]) == 64
    (ARTIFACTS / rows[0]["file"]).unlink()
    assert "missing" in branchfold("list", "tiny").out


def test_a_trial_is_deleted_with_its_file(copy, branchfold, refused, unanswered):
    file = ARTIFACTS / listed(branchfold, "tiny")[1]["file"]
    assert unanswered("delete", "tiny", "--trial", "1").startswith("error: nothing was deleted: there was no answer")
    assert file.exists()
    answer = branchfold("delete", "tiny", "--trial", "1", "--yes")
    assert answer.out == "deleted trial 1 of tiny with 1 network; its number stays, as a failed trial's\n"
    assert not file.exists()
    assert [row["state"] for row in listed(branchfold, "tiny")] == ["complete", "fail", "complete"]
    assert "has no trial 9" in refused("delete", "tiny", "--trial", "9", "--yes")
    assert "trial 1 of 'tiny' was deleted before: nothing is left" in refused("delete", "tiny", "--trial", "1", "--yes")


def test_gc_removes_what_a_deleted_study_left_and_asks_first(copy, branchfold, unanswered):
    assert branchfold("gc").out == "every file is in use: there is nothing to remove\n"
    before = sorted(ARTIFACTS.iterdir())
    optuna.delete_study(storage=optuna.storages.RDBStorage(URL), study_name="tiny")
    (ARTIFACTS / "mine.txt").touch()
    size = sum(file.stat().st_size for file in before)
    # Three networks, the baseline, its copy, and what it says of the training images.
    what = f"16 files that nothing names, {size:,} bytes"
    assert branchfold("gc", "--dry-run").out.splitlines()[-1] == f"would remove {what}"
    assert "there was no answer" in unanswered("gc")
    assert sorted(ARTIFACTS.iterdir()) == sorted([*before, ARTIFACTS / "mine.txt"])
    assert branchfold("gc", "--yes").out == f"removed {what}\n"
    assert list(ARTIFACTS.iterdir()) == [ARTIFACTS / "mine.txt"]


def test_copy_takes_studies_and_networks_and_replaces_nothing(copy, branchfold, refused):
    target = "sqlite:///elsewhere/s.db"
    assert branchfold("copy", URL, target).out == f"copied 1 study, 3 trials, 16 files to {target}\n"
    assert listed(branchfold, "tiny", "--storage", target) == listed(branchfold, "tiny")
    shutil.rmtree("studies")
    assert branchfold("evaluate", "tiny.safetensors", "--storage", target).status == 0
    assert "is there already and is not replaced" in refused("copy", target, target)


@pytest.mark.parametrize(
    "command",
    [["list"], ["show", "tiny"], ["delete", "tiny"], ["gc"], ["dashboard"], ["run", "tiny.toml"], ["export", "tiny"]],
    ids=str,
)
def test_a_password_is_never_printed(here, refused, command):
    pytest.importorskip("psycopg")
    url = "postgresql://me:hush@127.0.0.1:1/x?sslpassword=hush"
    message = refused(*command, "--storage", url)
    assert message.startswith("cannot use the study database postgresql+psycopg://me:***@127.0.0.1:1/x?sslpassword=***")
    assert "hush" not in message
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


def test_a_password_is_never_stored(here, refused):
    pytest.importorskip("psycopg")
    open_storage("sqlite:///s.db", create=True)
    assert "hush" not in refused("copy", "sqlite:///s.db", "postgresql://me:hush@127.0.0.1:1/x")
    assert not any(b"hush" in path.read_bytes() for path in here.rglob("*") if path.is_file())


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root writes anywhere")
def test_an_unwritable_database_is_told_in_one_line(copy):
    """A file and folder without write permission, by a process that has no way around it."""
    Path("studies/branchfold.db").chmod(0o444)
    Path("studies").chmod(0o555)
    plain = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    code = "from branchfold.search.console.commands import main; main()"
    command = [*plain, sys.executable, "-c", code, "run", "tiny.toml", "--trials", "4"]
    before = sorted(Path("studies").rglob("*"))
    done = subprocess.run(command, capture_output=True, text=True)
    Path("studies").chmod(0o755)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: cannot use the study database {URL}: attempt to write a readonly database; check --storage\n"
    )
    assert sorted(Path("studies").rglob("*")) == before
