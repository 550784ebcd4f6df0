"""What is relied on of Optuna beyond its documentation: with another version of Optuna, look here first."""

import time

import optuna
import pytest
from optuna.artifacts import upload_artifact
from optuna.trial import TrialState
from sqlalchemy import text

from branchfold.studies.database import optuna_internals as internals
from branchfold.studies.database import storage as database
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.storage import open_storage

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


@pytest.fixture
def storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


@pytest.fixture
def study(storage):
    return optuna.create_study(storage=storage, study_name="s")


class TestContract:
    def test_engine_behind_a_study_and_behind_none(self, storage, study):
        assert internals.engine_of(study._storage) is storage.engine
        assert internals.engine_of(storage) is storage.engine
        assert internals.engine_of(optuna.create_study()._storage) is None

    def test_tables_that_are_read_and_written(self, storage):
        columns = {
            "trial_user_attributes": {"trial_id", "key", "value_json"},
            "trial_heartbeats": {"trial_id", "heartbeat"},
        }
        with storage.engine.connect() as connection:
            for table, wanted in columns.items():
                found = {row[1] for row in connection.execute(text(f"PRAGMA table_info({table})"))}
                assert wanted <= found

    def test_url_with_braces(self, tmp_path):
        url = f"sqlite:///{tmp_path}/a{{b}}.db"
        assert optuna.storages.RDBStorage(internals.as_format_string(url)).url == url
        assert (tmp_path / "a{b}.db").is_file()

    @pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
    def test_a_grid_that_is_through_stops_and_another_does_not(self):
        study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
        found = []
        for _ in range(2):
            study.optimize(lambda trial: trial.suggest_int("x", 0, 1), n_trials=1)
            found.append(internals.was_stopped(study))
        assert found == [False, True]

    def test_constraints_as_the_dashboard_reads_them(self, study):
        from optuna_dashboard import _serializer

        trial = study.ask()
        internals.set_dashboard_constraints(trial, [0.5])
        assert study.trials[0].system_attrs["constraints"] == [0.5]
        assert _serializer.CONSTRAINTS_KEY == "constraints"

    def test_heartbeats_that_beat_that_stopped_and_that_never_began(self, tmp_path, monkeypatch):
        monkeypatch.setattr(database, "GRACE_PERIOD", 1)
        storage = open_storage(f"sqlite:///{tmp_path}/beats.db", create=True)
        study = optuna.create_study(storage=storage)
        silent, stopped = study.ask(), study.ask()
        storage.record_heartbeat(stopped._trial_id)
        time.sleep(2.1)
        beating = study.ask()
        storage.record_heartbeat(beating._trial_id)
        assert [trial.number for trial in internals.without_heartbeat(study)] == [silent.number]
        assert [trial.number for trial in internals.with_stale_heartbeat(study)] == [stopped.number]
        study.tell(stopped, state=TrialState.FAIL)
        assert internals.with_stale_heartbeat(study) == []

    def test_no_heartbeats_without_a_database(self):
        study = optuna.create_study()
        study.ask()
        assert internals.without_heartbeat(study) == internals.with_stale_heartbeat(study) == []

    def test_artifacts_of_a_study_and_its_trials(self, storage, study, tmp_path):
        store = artifact_store(storage.url)
        (tmp_path / "note.txt").write_text("x")
        subjects = study, study.ask()
        given = {
            upload_artifact(study_or_trial=x, file_path=f"{tmp_path}/note.txt", artifact_store=store, storage=storage)
            for x in subjects
        }
        assert len(given) == 2
        assert internals.artifact_ids(study) == given


class TestUserAttributes:
    def test_are_written_in_one_go_and_replaced(self, tmp_path):
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
        study = optuna.create_study(storage=storage)
        trial = study.ask()
        trial.set_user_attr("a", 1)
        set_user_attrs(trial, {"a": [1, 2], "b": {"c": None}})
        assert study.trials[0].user_attrs == {"a": [1, 2], "b": {"c": None}}
        study.tell(trial, 1.0)
        assert optuna.load_study(study_name=study.study_name, storage=storage).trials[0].user_attrs["a"] == [1, 2]

    def test_a_value_that_is_not_json_leaves_them_as_they_were(self, tmp_path):
        trial = optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=True)).ask()
        with pytest.raises(TypeError):
            set_user_attrs(trial, {"a": 1, "b": object()})
        assert trial.study.trials[0].user_attrs == {}

    def test_without_a_database_too(self):
        trial = optuna.create_study().ask()
        set_user_attrs(trial, {"a": 1})
        assert trial.study.trials[0].user_attrs == {"a": 1}
