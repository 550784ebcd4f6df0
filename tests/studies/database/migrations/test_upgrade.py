"""Databases of earlier versions are brought up to date, all or nothing, with a copy beside.

`kept/attributes.sql` was dumped at commit a754d4b, the last version that kept all in attributes: a study of three
trials with its screening and its refined trials.
"""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from branchfold.errors import StudyError
from branchfold.studies.database.migrations import state, upgrade
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import load_study, open_storage, stored_definition
from branchfold.studies.database.tables.models import OPTUNAS, Base
from branchfold.studies.database.tables.names import SHOWN
from branchfold.studies.database.trials import best_trial

KEPT = Path(__file__).parents[1] / "kept" / "attributes.sql"
STUDIES = ("digits", "digits-screening", "digits-refined")


@pytest.fixture
def path(tmp_path):
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.executescript(KEPT.read_text())
    return tmp_path / "s.db"


def ask(path, question):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def dump(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def attributes(path, of):
    """What a study or trial has in Optuna's attributes, by its number in the database."""
    found = {}
    for owner, key, value in ask(path, f"SELECT {of}_id, key, value_json FROM {of}_user_attributes"):
        found.setdefault(owner, {})[key] = json.loads(value)
    return found


def opened(path, **options):
    return open_storage(f"sqlite:///{path}", create=False, **options)


class TestAttributes:
    def test_all_that_was_known_is_known(self, path):
        trials, studies = attributes(path, "trial"), attributes(path, "study")
        assert sum("history" in values for values in trials.values()) == 7
        storage = opened(path)
        for name in STUDIES:
            study = load_study(storage, name)
            assert study.user_attrs == studies[study._study_id]
            for trial in study.trials:
                before = {key: value for key, value in trials[trial._trial_id].items() if value is not None}
                added = {"split": "validation", "examples": 288} if "macs" in before else {}
                assert trial.user_attrs == {**before, **added}

    def test_only_what_people_look_at_stays_an_attribute(self, path):
        opened(path)
        moved = {key for values in attributes(path, "trial").values() for key in values}
        assert moved == SHOWN | {"known", "length", "refines", "same_as"} & moved
        assert not {"definition", "fingerprint", "identity", "metric", "baseline"} & {
            key for values in attributes(path, "study").values() for key in values
        }

    def test_sql_answers(self, path):
        storage = opened(path)
        study = load_study(storage, "digits")
        best = best_trial(study, stored_definition(study))
        assert ask(path, "SELECT trial FROM best_trials WHERE study = 'digits' AND place = 1") == [(best.number,)]
        [(count,)] = ask(path, "SELECT count(*) FROM trial_widths WHERE study = 'digits-screening'")
        assert count == 2 * len(best.user_attrs["recipe"]["widths"])
        assert len(trial_rows(study)) == 3

    def test_studies_of_other_programs_stay_as_they_are(self, tmp_path):
        url = f"sqlite:///{tmp_path}/s.db"
        study = optuna.create_study(storage=url, study_name="theirs")
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"metric": 0.5, "history": [1, 2]}))
        before = dump(tmp_path / "s.db")
        assert load_study(opened(tmp_path / "s.db"), "theirs").trials[0].user_attrs["history"] == [1, 2]
        assert dump(tmp_path / "s.db") == before  # looked at, not changed
        open_storage(url, create=True)
        assert attributes(tmp_path / "s.db", "trial") == {1: {"metric": 0.5, "history": [1, 2]}}


class TestCopy:
    def test_is_kept_beside_and_made_once(self, path):
        before, told = dump(path), []
        opened(path, told=told.append)
        copy = path.with_name("s.db.before-1")
        assert dump(copy) == before
        assert told == [f"sqlite:///{path} was brought to this version's form; as it was, it is kept in {copy}"]
        opened(path, told=told.append)
        assert len(told) == 1
        assert sorted(file.name for file in path.parent.iterdir()) == ["s.db", "s.db.before-1"]

    def test_never_replaces_another(self, path):
        path.with_name("s.db.before-1").write_text("mine")
        before = dump(path)
        opened(path)
        assert path.with_name("s.db.before-1").read_text() == "mine"
        assert dump(path.with_name("s.db.before-2")) == before

    def test_processes_that_open_it_at_once_upgrade_it_once(self, path):
        ready = threading.Barrier(4)

        def begin(_):
            ready.wait()
            return load_study(opened(path), "digits").trials[0].user_attrs["history"]

        with ThreadPoolExecutor(4) as pool:
            histories = list(pool.map(begin, range(4)))
        assert histories == [histories[0]] * 4
        assert len(list(path.parent.glob("*.before-*"))) == 1


class TestRefusals:
    def test_an_upgrade_that_fails_changes_nothing(self, path, monkeypatch):
        def full(connection):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(upgrade, "move_attributes", full)
        before = dump(path)
        with pytest.raises(StudyError, match="No space left on device; check --storage"):
            opened(path)
        assert dump(path) == before
        assert list(path.parent.iterdir()) == [path]

    def test_a_newer_version_is_told_and_nothing_changed(self, path):
        opened(path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE branchfold_version SET version_num = '9999'")
        before = dump(path)  # not the bytes, which a checkpoint of the log changes
        for create in (True, False):
            with pytest.raises(StudyError, match=r"made by a newer version of branchfold \(its tables are 9999"):
                open_storage(f"sqlite:///{path}", create=create)
        assert dump(path) == before

    @pytest.mark.parametrize("create", [True, False])
    def test_another_programs_database_is_left_alone(self, tmp_path, create):
        path = tmp_path / "places.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x); CREATE TABLE d (x);")
        before = path.read_bytes()
        with pytest.raises(StudyError, match=r"is a database of another program \(it has the tables a, b, c, …\)"):
            open_storage(f"sqlite:///{path}", create=create)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("page", [1, 2, 5])
    def test_a_damaged_one_is_told_in_one_line(self, path, page):
        damaged = bytearray(path.read_bytes())
        start = 100 if page == 1 else 4096 * (page - 1)
        damaged[start : 4096 * page] = b"\xff" * (4096 * page - start)
        path.write_bytes(damaged)
        with pytest.raises(StudyError) as caught:
            [study.user_attrs for study in opened(path).get_all_studies()]
        assert str(caught.value).startswith(f"cannot use the study database sqlite:///{path}: ")
        assert "\n" not in str(caught.value)


class TestTables:
    def test_are_those_of_the_models(self, tmp_path):
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
        theirs = {table.name for table in OPTUNAS}
        ours = set(Base.metadata.tables) - theirs

        def included(item, name, kind, *_):
            return kind != "table" or name in ours

        with storage.engine.connect() as connection:
            options = {"version_table": state.VERSION_TABLE, "include_object": included, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Base.metadata) == []

    def test_the_head_is_the_last_revision(self):
        folder = Path(upgrade.__file__).parent
        assert ScriptDirectory(str(folder), version_locations=[str(folder / "versions")]).get_heads() == [state.HEAD]
