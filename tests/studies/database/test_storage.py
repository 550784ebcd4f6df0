import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from branchfold.errors import StudyError
from branchfold.studies.database import storage as database
from branchfold.studies.database.places.addresses import shown_url
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import load_study, open_storage, open_study, stored_definition
from branchfold.studies.database.trials import finished_trials
from branchfold.studies.definition.reading import load_definition


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/studies/branchfold.db"


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def refused(url, *, create=True):
    with pytest.raises(StudyError) as caught:
        open_storage(url, create=create)
    message = str(caught.value)
    assert "\n" not in message
    return message


def pragma(storage, name):
    with storage.engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


# Scripts, because the processes of `multiprocessing` cannot import a test module.
HEADER = """
import pickle, sys, time
import optuna
from branchfold.errors import StudyError
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition
optuna.logging.set_verbosity(optuna.logging.ERROR)
def wait_for_all():
    print("ready", flush=True)
    sys.stdin.readline()
"""

PICKLED = """
storage = pickle.loads(bytes.fromhex(sys.argv[1]))
with storage.engine.connect() as connection:
    print([connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "busy_timeout")])
"""

OPEN_AND_RUN = """
definition = load_definition("digits")
wait_for_all()
study = open_study(open_storage(sys.argv[1], create=True), definition)
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
"""

CREATE = """
storage = open_storage(sys.argv[1], create=True)
wait_for_all()
for name in "abc":
    try:
        open_study(storage, load_definition("digits", [f"study.name={name}", f"study.seed={sys.argv[2]}"]))
        print(name, end="")
    except StudyError as error:
        assert "exists with another definition: study.seed was" in str(error), error
"""

KILLED = """
study = open_study(open_storage(sys.argv[1], create=True), load_definition("digits"))
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    if trial.number == 2:
        print("running", flush=True)
        time.sleep(60)
    return x
study.optimize(objective)
"""


def start(script, *arguments):
    command = [sys.executable, "-W", "error", "-c", HEADER + script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def await_heartbeat(url, trial):
    """Waits until the trial of this id has given a first sign of life."""
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        while connection.execute("SELECT 1 FROM trial_heartbeats WHERE trial_id = ?", (trial,)).fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def at_once(script, *argument_lists):
    """Runs the script in one process for each list of arguments, lets all go together, and returns what they print."""
    processes = [start(script, *arguments) for arguments in argument_lists]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


class TestOpening:
    def test_creates_folder_and_database_with_a_write_ahead_log(self, url, tmp_path):
        open_storage(url, create=True)
        path = tmp_path / "studies" / "branchfold.db"
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert {"studies", "trials", "trial_heartbeats"} <= tables
        assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []

    def test_settings_hold_in_this_process_and_after_pickling_into_another(self, url):
        storage = open_storage(url, create=True)
        with start(PICKLED, pickle.dumps(storage).hex()) as process:
            assert process.stdout.read() == "[1, 60000]\n"  # 1 is NORMAL
        assert (pragma(storage, "synchronous"), pragma(storage, "busy_timeout")) == (1, 60_000)
        assert pragma(storage, "journal_mode") == "wal"

    def test_heartbeats_are_on(self, url):
        storage = open_storage(url, create=True)
        assert (storage.get_heartbeat_interval(), storage.grace_period) == (15, 45)
        assert storage.heartbeat_stale_trial_callback is not None

    def test_relative_url_means_the_folder_it_was_opened_in(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        storage = open_storage("sqlite:///a.db", create=True)
        open_study(storage, load_definition("digits"))
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
        assert load_study(pickle.loads(pickle.dumps(storage)), "digits").study_name == "digits"
        assert not (tmp_path / "sub" / "a.db").exists()

    def test_path_with_braces_and_spaces(self, tmp_path):
        path = tmp_path / "a {b} c" / "x.db"
        pickle.loads(pickle.dumps(open_storage(f"sqlite:///{path}", create=True)))
        assert path.is_file()

    def test_existing_database_of_another_journal_mode_is_switched(self, tmp_path):
        path = tmp_path / "old.db"
        optuna.create_study(storage=f"sqlite:///{path}", study_name="old")
        storage = open_storage(f"sqlite:///{path}", create=True)
        assert pragma(storage, "journal_mode") == "wal"
        assert optuna.get_all_study_names(storage) == ["old"]

    def test_several_processes_open_a_new_database_at_once(self, url):
        at_once(OPEN_AND_RUN, *[[url]] * 4)
        study = load_study(open_storage(url, create=False), "digits")
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
        assert optuna.get_all_study_names(study._storage) == ["digits"]


class TestRefusals:
    def test_missing_database_is_not_created(self, url, tmp_path):
        assert refused(url, create=False) == f"no study database at {url}; run `branchfold run STUDY` first"
        assert list(tmp_path.iterdir()) == []

    def test_database_without_tables_is_left_alone(self, tmp_path):
        path = tmp_path / "empty.db"
        path.touch()
        assert refused(f"sqlite:///{path}", create=False).startswith("no study database at ")
        assert path.stat().st_size == 0

    @pytest.mark.parametrize("create", [True, False])
    def test_file_that_is_not_a_database(self, tmp_path, create):
        path = tmp_path / "notes.txt"
        path.write_text("my notes " * 200)
        message = refused(f"sqlite:///{path}", create=create)
        assert message == (f"cannot use the study database sqlite:///{path}: file is not a database; check --storage")
        assert path.read_text() == "my notes " * 200

    def test_a_damaged_database_is_to_be_put_back(self, url, tmp_path):
        open_storage(url, create=True).engine.dispose()
        path = tmp_path / "studies" / "branchfold.db"
        path.write_bytes(path.read_bytes()[:20_000])
        assert "malformed; the file is damaged: put a copy of it back" in refused(url, create=False)

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        url = f"sqlite:///{tmp_path}/file/x.db"
        assert refused(url).startswith(f"cannot use the study database {url}: ")

    def test_unwritable_folder_is_left_empty(self, url, tmp_path, monkeypatch):
        def no_space(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(database, "_prepare", no_space)
        assert "No space left on device; check --storage" in refused(url)
        assert list((tmp_path / "studies").iterdir()) == []

    def test_locked_database(self, url, tmp_path, monkeypatch):
        open_storage(url, create=True)
        monkeypatch.setattr(database, "OPENING_TIMEOUT", 0.1)
        with closing(sqlite3.connect(tmp_path / "studies" / "branchfold.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert "database is locked; close the program that holds it" in refused(url)
        open_storage(url, create=True)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("studies/x.db", "is not a database URL; for a file write sqlite:///path/to/file.db"),
            ("sqlite://", "names no file"),
            ("sqlite:///:memory:", "names no file"),
            ("foo://a/b", "unknown kind of database 'foo'"),
            (
                "mysql+mysqldb://me:hush@host/x",
                "the driver of mysql+mysqldb://me:***@host/x needs the Python module MySQLdb",
            ),
            ("mysql+mysqldb://host/x?passwd=hush", "passwd=***"),
            ("postgresql://me:hush@host:port/x", "is not a database URL"),
        ],
    )
    def test_urls(self, url, reason):
        message = refused(url)
        assert reason in message
        assert "hush" not in message

    def test_shown_url_hides_passwords(self):
        assert shown_url("postgresql://me:hush@host/x") == "postgresql://me:***@host/x"
        assert shown_url("sqlite:////a/b.db") == "sqlite:////a/b.db"


class TestStudy:
    def test_created_with_directions_names_and_definition(self, url):
        definition = load_definition("digits", ['study.objectives=["accuracy", "macs", "parameters"]'])
        sampler = optuna.samplers.RandomSampler(seed=3)
        study = open_study(open_storage(url, create=True), definition, sampler=sampler)
        assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
        assert study.metric_names == ["accuracy", "macs", "parameters"]
        assert study.sampler is sampler
        again = load_study(open_storage(url, create=False), "digits")
        assert stored_definition(again) == definition

    def test_long_definition_survives(self, url):
        values = ", ".join(f'"{"x" * 50}{i}"' for i in range(500))
        definition = load_definition("digits", [f"model.names=[{values}]"])
        study = open_study(open_storage(url, create=True), definition)
        assert len(stored_definition(study).model.arguments["names"]) == 500

    def test_resumed_with_more_trials_keeps_what_is_done(self, url):
        for overrides in ([], ["study.trials=99", "data.root=/elsewhere"]):
            study = open_study(open_storage(url, create=True), load_definition("digits", overrides))
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        assert [trial.number for trial in finished_trials(study)] == [0, 1, 2, 3]
        assert stored_definition(study).study.trials == 99

    def test_another_definition_is_refused_and_changes_nothing(self, url):
        storage = open_storage(url, create=True)
        study = open_study(storage, load_definition("digits"))
        with pytest.raises(StudyError) as caught:
            open_study(storage, load_definition("digits", ["trial.epochs=3"]))
        assert str(caught.value) == (
            "study 'digits' exists with another definition: trial.epochs was 12 and is now 3; "
            "start a new study with --set study.name=digits-2, or give the old values"
        )
        assert stored_definition(study) == load_definition("digits")
        open_study(storage, load_definition("digits", ["trial.epochs=3", "study.name=digits-2"]))

    def test_somebody_elses_study_is_left_alone(self, url):
        storage = open_storage(url, create=True)
        theirs = optuna.create_study(storage=storage, study_name="digits")
        theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        with pytest.raises(StudyError, match="was not made by branchfold; choose another name"):
            open_study(storage, load_definition("digits"))
        with pytest.raises(StudyError, match="holds no definition"):
            stored_definition(theirs)
        assert theirs.user_attrs == {}

    def test_study_whose_creator_died_before_its_definition_is_completed(self, url, monkeypatch):
        monkeypatch.setattr(database, "CREATION_TIMEOUT", 0.1)
        storage = open_storage(url, create=True)
        optuna.create_study(storage=storage, study_name="digits", direction="maximize")
        study = open_study(storage, load_definition("digits"))
        assert stored_definition(study) == load_definition("digits")
        assert study.metric_names == ["accuracy"]

    def test_of_two_definitions_created_at_once_one_wins(self, url):
        open_storage(url, create=True)
        winners = at_once(CREATE, [url, "1"], [url, "2"])
        assert sorted("".join(winners)) == ["a", "b", "c"]
        for seed, names in enumerate(winners, 1):
            for name in names:
                assert stored_definition(load_study(open_storage(url, create=False), name)).study.seed == seed

    def test_unknown_name_lists_those_there_are(self, url):
        storage = open_storage(url, create=True)
        with pytest.raises(StudyError, match="it holds none yet"):
            load_study(storage, "digits")
        open_study(storage, load_definition("digits"))
        with pytest.raises(StudyError, match=r"no study 'digit' in .*did you mean digits\? \(it holds: digits;"):
            load_study(storage, "digit")


def test_kill_leaves_finished_trials_and_queues_the_killed_one_again(url, monkeypatch):
    with start(KILLED, url) as process:
        assert process.stdout.readline() == "running\n"
        await_heartbeat(url, trial=3)
        os.kill(process.pid, signal.SIGKILL)
    monkeypatch.setattr(database, "GRACE_PERIOD", 1)
    study = open_study(open_storage(url, create=True), load_definition("digits"))
    assert [row.state for row in trial_rows(study)] == ["complete", "complete", "running"]
    time.sleep(2.1)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert [row.state for row in trial_rows(study)] == ["complete", "complete", "fail", "complete"]
    assert study.trials[3].params == study.trials[2].params
    assert study.trials[3].user_attrs == {"repeats": 2, "deaths": 1}
    assert study.trials[2].user_attrs["note"] == (
        "its worker died: it gave no sign of life any more; it goes on as another trial"
    )


def test_a_database_that_cannot_be_made_is_told_by_its_own_name():
    with pytest.raises(StudyError, match=r"cannot use the study database sqlite:////proc/x\.db: ") as caught:
        open_storage("sqlite:////proc/x.db", create=True)
    assert "/.x.db" not in str(caught.value)
