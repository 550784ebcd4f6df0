"""The commands list and delete, the option --force, and names that are refused."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import optuna
import pytest

from branchfold.studies.database.companions import SCREENING, open_companion
from branchfold.studies.database.storage import load_study, open_storage

URL = "sqlite:///studies/branchfold.db"


@pytest.fixture
def with_screening(copy):
    """A copy of the finished study, which has a screening beside it now."""
    storage = open_storage(URL, create=False)
    minimise = [optuna.study.StudyDirection.MINIMIZE]
    open_companion(storage, load_study(storage, "tiny"), SCREENING, directions=minimise, metrics=["loss"], told=print)
    return copy


class TestList:
    def test_as_a_table(self, with_screening, branchfold):
        done = branchfold("list")
        assert (done.status, done.err) == (0, "")
        best = max(row["metric"] for row in json.loads(branchfold("show", "tiny", "--json").out))
        lines = [" ".join(line.replace("│", " ").split()) for line in done.out.splitlines()]
        at = lines.index(f"tiny 3 of 3 {100 * best:.1f} % accuracy finished")
        assert lines[at + 1] == "tiny-screening 0"

    def test_as_json(self, with_screening, branchfold):
        [row] = json.loads(branchfold("list", "--json").out)
        assert (row["name"], row["finished"], row["wanted"], row["state"]) == ("tiny", 3, 3, "finished")
        assert row["companions"] == [{"name": "tiny-screening", "finished": 0}]

    def test_of_a_storage_without_studies(self, tmp_path, monkeypatch, branchfold):
        monkeypatch.chdir(tmp_path)
        answer = branchfold("list")
        assert (answer.status, answer.err) == (
            2,
            f"error: no study database at {URL}; run `branchfold run STUDY` first\n",
        )
        open_storage(URL, create=True)
        assert branchfold("list").out == f"no study in {URL} yet; `branchfold run STUDY` creates one\n"


class TestDelete:
    WHAT = "study tiny: 3 trials, tiny-screening beside it, 4 networks"

    def test_asks_and_keeps_everything_if_not_told_to(self, with_screening, branchfold, monkeypatch):
        asked = []
        monkeypatch.setattr(click.termui, "visible_prompt_func", lambda prompt: asked.append(prompt) or "n")
        done = branchfold("delete", "tiny")
        assert self.WHAT in asked[0] + done.out
        assert (done.status, done.out) == (0, "nothing was deleted\n")
        assert json.loads(branchfold("list", "--json").out)[0]["finished"] == 3
        monkeypatch.setattr(click.termui, "visible_prompt_func", lambda prompt: "y")
        assert branchfold("delete", "tiny").out.endswith(f"deleted {self.WHAT}\n")

    def test_without_an_answer_keeps_everything_too(self, with_screening, branchfold, monkeypatch):
        def ended(prompt):
            raise EOFError

        monkeypatch.setattr(click.termui, "visible_prompt_func", ended)
        answer = branchfold("delete", "tiny")
        assert answer.status == 2
        assert answer.err.splitlines()[-1].startswith("error: nothing was deleted: there was no answer; --yes answers")
        assert branchfold("show", "tiny").status == 0

    def test_takes_study_companions_and_networks_and_leaves_exports(self, with_screening, branchfold):
        done = branchfold("delete", "tiny.toml", "--yes")
        assert (done.status, done.out, done.err) == (0, f"deleted {self.WHAT}\n", "")
        assert list((with_screening / "studies" / "artifacts").iterdir()) == []
        assert optuna.get_all_study_names(open_storage(URL, create=False)) == []
        assert (with_screening / "tiny.safetensors").is_file()
        assert "no study 'tiny'" in branchfold("delete", "tiny", "--yes").err


class TestOutput:
    @staticmethod
    def rows():
        """What the study database says; its bytes change when SQLite moves a log into them."""
        with closing(sqlite3.connect("studies/branchfold.db")) as connection:
            return list(connection.iterdump())

    @pytest.mark.parametrize("command", [["run", "tiny.toml"], ["export", "tiny"], ["refine", "tiny", "--epochs", "1"]])
    def test_never_costs_the_study_or_what_it_is_made_from(self, copy, branchfold, command):
        artifact = next((copy / "studies" / "artifacts").iterdir())
        kept = [Path("tiny.toml").read_bytes(), artifact.read_bytes()]
        rows = self.rows()
        for place in ("studies/branchfold.db", "studies/branchfold.db-wal", "tiny.toml", artifact):
            answer = branchfold(*command, "--output", place, "--force")
            assert answer.status == 2
            assert answer.err.startswith(f"error: cannot write {place}: ")
            assert self.rows() == rows
            assert [Path("tiny.toml").read_bytes(), artifact.read_bytes()] == kept
        assert len(json.loads(branchfold("show", "tiny", "--json").out)) == 3

    @pytest.mark.usefixtures("quick_latency")
    def test_replaces_another_file_if_asked_to(self, copy, branchfold):
        Path("weights.pt").write_text("mine")
        export = ["export", "tiny", "--format", "state-dict", "--output", "weights.pt"]
        answer = branchfold(*export)
        assert (answer.status, Path("weights.pt").read_text()) == (2, "mine")
        assert "no network that branchfold wrote; choose another --output, or replace it with --force" in answer.err
        assert branchfold(*export, "--force").status == 0
        assert Path("weights.pt").stat().st_size > 1000
        shutil.copy("weights.pt", "tiny.safetensors")
        assert "--force" in branchfold("run", "tiny.toml").err


@pytest.mark.parametrize("name", ["tiny-screening", "tiny-refined", "..", "-tiny"])
def test_names_that_a_study_cannot_have(here, branchfold, name):
    answer = branchfold("run", "tiny.toml", "--set", f"study.name={name}")
    assert answer.status == 2
    assert answer.err.startswith(f"error: --set study.name={name}: study.name must")
    assert {path.name for path in here.iterdir()} == {"tiny.toml"}
