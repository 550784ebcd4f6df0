"""Studies that earlier versions made are read and resumed; those kept here stay, whatever the keys become.

`kept/digits.sql` was dumped from the study that `kept/digits.toml` made at commit f453ec0; the one artifact is its
baseline.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from branchfold.errors import StudyError
from branchfold.search.run.processes import run_study
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import load_study, open_storage, open_study, stored_definition
from branchfold.studies.database.trials import best_trial, finished_trials
from branchfold.studies.definition.reading import load_definition

KEPT = Path(__file__).with_name("kept")


@pytest.fixture
def url(tmp_path):
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.executescript((KEPT / "digits.sql").read_text())
    shutil.copytree(KEPT / "artifacts", tmp_path / "artifacts")
    return f"sqlite:///{tmp_path}/s.db"


def definition(*overrides):
    return load_definition(str(KEPT / "digits.toml"), overrides)


def test_is_read(url):
    study = load_study(open_storage(url, create=False), "digits")
    stored = stored_definition(study)
    assert (stored.model.factory, stored.model.arguments, stored.study.trials) == ("vgg_digits", {"width": 0.0625}, 2)
    assert [row.state for row in trial_rows(study)] == ["complete", "complete"]
    assert best_trial(study, stored).number == 1


def test_goes_on_with_the_definition_of_then_whose_rules_decide_as_they_did(url):
    """The definition leaves to rules what the kept one says: the rules decide the same today."""
    left_open = definition("space.training.distillation=", 'space.training.augment="auto"', "study.trials=3")
    events = []
    before = [trial.params for trial in load_study(open_storage(url, create=False), "digits").trials]
    study = run_study(left_open, url, workers=1, notify=events.append)
    assert [trial.params for trial in study.trials[:2]] == before
    assert [row.state for row in trial_rows(study)] == ["complete"] * 3
    # Neither trained again nor screened again.
    assert {type(event).__name__ for event in events} == {
        "Notice",
        "BaselineReady",
        "StudyMetric",
        "TrialTaken",
        "TrialStarted",
        "TrialReport",
        "TrialEnded",
        "FinalistsStarted",
        "FinalistEnded",
    }
    screening = load_study(open_storage(url, create=False), "digits-screening")
    assert len(finished_trials(screening)) == 2
    training = study.trials[2].user_attrs["recipe"]["training"]
    assert (training["distillation"], training["augment"]) == (0.0, True)
    assert stored_definition(study) == definition("study.trials=3")


def test_and_with_no_other(url):
    with pytest.raises(StudyError, match=r"another definition: trial\.epochs was 1 and is now 2"):
        open_study(open_storage(url, create=False), definition("trial.epochs=2"))


def test_paths_were_relative_to_the_working_directory(tmp_path, monkeypatch):
    """As versions stored them before a definition's paths were made absolute."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sqlite:///s.db", create=True)
    own = ["model.factory=net.py:make", "baseline.checkpoint=start.pt"]
    study = open_study(storage, definition(*own))
    for key in ("definition", "fingerprint"):
        tables = study.user_attrs[key]
        tables["model"]["factory"], tables["baseline"]["checkpoint"] = "net.py:make", "start.pt"
        study.set_user_attr(key, tables)
    open_study(storage, definition(*own))
    assert stored_definition(study).baseline.checkpoint == str(tmp_path / "start.pt")
