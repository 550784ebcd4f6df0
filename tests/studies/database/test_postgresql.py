"""The same on PostgreSQL: a server that the tests start themselves."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from sqlalchemy import text

from branchfold.errors import StudyError
from branchfold.studies.database.optuna_internals import claim
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.tables import guarding
from branchfold.studies.database.trials import best_trial, history_of, measurement_of
from branchfold.studies.definition.reading import load_definition

from .conftest import MEASURED

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


def ask(storage, question):
    with storage.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(question))]


def test_study_is_kept_read_and_asked_as_on_sqlite(empty_postgresql, fill):
    storage, study = fill(empty_postgresql)
    again = load_study(open_storage(empty_postgresql, create=False), "digits")
    trial = best_trial(again, load_definition("digits", ["study.budget={macs = 0.35}"]))
    assert measurement_of(trial) == MEASURED
    assert [entry["alphas"] for entry in history_of(trial)] == [[0.5, 0.0]] * 2
    assert not claim(study, "x") or not claim(again, "x")
    assert ask(storage, "SELECT study, trial, metric, place FROM best_trials") == [("digits", 0, 0.9, 1)]
    assert ask(storage, "SELECT trial, state, reason FROM endings") == [(1, "fail", "a hiccup")]
    assert ask(storage, "SELECT channel_group, width, full_width, share FROM trial_widths ORDER BY 1") == [
        ("a", 3, 6, 0.5),
        ("b", 4, 8, 0.5),
    ]
    [(trials, compute, seconds)] = ask(storage, "SELECT trials, compute, seconds FROM compute_spent")
    assert (trials, compute) == (2, 0.5)
    assert 0 < seconds < 60
    [(first, second)] = ask(storage, "SELECT min(reached), max(reached) FROM trial_courses")
    assert (second - first).total_seconds() == 1


def test_rows_go_with_a_study_that_optuna_alone_deletes(empty_postgresql, fill):
    storage, _ = fill(empty_postgresql)
    plain = optuna.storages.RDBStorage(empty_postgresql)
    optuna.delete_study(storage=plain, study_name="digits")
    plain.remove_session()
    plain.engine.dispose()
    for name in ("definitions", "runs", "milestones", "stage_alphas", "networks", "widths"):
        assert ask(storage, f"SELECT count(*) FROM {name}") == [(0,)]


# SQLAlchemy drops a broken connection without closing it, which psycopg remarks on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_restarts_costs_nothing(server, empty_postgresql, fill):
    """Also while a query meets the outage: it is asked again until the server is back."""
    storage, study = fill(empty_postgresql)
    trial = study.ask()
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    try:
        trial.report(0.5, 0)
        storage.set_trial_values(trial._trial_id, {"recipe": {"shape": "knee"}})
    finally:
        back.join()
    server.stop("immediate")
    server.start()
    study.tell(trial, 0.5)
    assert [(t.state.name, t.user_attrs.get("recipe", {}).get("shape")) for t in study.trials][-1] == (
        "COMPLETE",
        "knee",
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_stays_away_is_told_in_one_line(server, empty_postgresql, fill, monkeypatch):
    _, study = fill(empty_postgresql)
    monkeypatch.setattr(guarding, "RECONNECTING", 0.0)
    server.stop()
    try:
        with pytest.raises(
            StudyError, match=r"cannot use the study database postgresql\+psycopg://tests@/.*"
        ) as caught:
            study.get_trials()
    finally:
        server.start()
    assert "\n" not in str(caught.value)
    gc.collect()


def test_the_tables_are_made_once_by_many(empty_postgresql):
    ready = threading.Barrier(4)

    def begin(number):
        ready.wait()
        study = open_study(open_storage(empty_postgresql, create=True), load_definition("digits"))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    trials = load_study(open_storage(empty_postgresql, create=False), "digits").trials
    assert [trial.number for trial in trials] == list(range(8))


def test_errors_name_no_password(server):
    url = f"postgresql://me:hush%40word@/none?host={server.folder}&sslpassword=hush%40word"
    with pytest.raises(StudyError) as caught:
        open_storage(url, create=True)
    assert "me:***@/none" in str(caught.value)
    assert 'role "me" does not exist' in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_somebody_elses_database_is_left_alone(empty_postgresql, server):
    import psycopg

    address = {"host": str(server.folder), "user": "tests", "dbname": empty_postgresql.split("/")[3].split("?")[0]}
    with psycopg.connect(**address) as connection:
        connection.execute("CREATE TABLE invoices (id integer)")
    with pytest.raises(StudyError, match=r"is a database of another program \(it has the tables invoices\)"):
        open_storage(empty_postgresql, create=True)
