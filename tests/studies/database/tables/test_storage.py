"""What a program reads and writes as attributes lies in tables, and goes with Optuna's rows."""

import math

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import event, text

from branchfold.errors import StudyError
from branchfold.studies.database.optuna_internals import add_milestone, set_user_attrs
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.tables.models import OF_STUDIES, OF_TRIALS, Network, table_of
from branchfold.studies.database.trials import Measurement, history_of, measurement_of

from ..conftest import MEASURED

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def filled(fill, url):
    return fill(url)


def ask(storage, question):
    with storage.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(question))]


def test_values_lie_in_columns(filled):
    storage, _ = filled
    columns = "file, split, examples, metric, macs, latency, latency_threads, latency_unsure"
    assert ask(storage, f"SELECT {columns} FROM networks") == [("file", "validation", 100, 0.9, 300, 1.25, 1, 0)]
    assert ask(storage, "SELECT number, compute, alpha, folded_metric, seconds FROM milestones") == [
        (0, 0.0, 0.25, 0.5, 0.5),
        (1, 0.5, 0.25, 0.9, 1.5),
    ]
    assert ask(storage, "SELECT number, stage, alpha FROM stage_alphas WHERE stage = 0") == [(0, 0, 0.5), (1, 0, 0.5)]
    assert ask(storage, "SELECT name, width, full_width FROM widths") == [("a", 3, 6), ("b", 4, 8)]
    assert ask(storage, "SELECT network, budget_macs, metric, higher_is_better FROM definitions") == [
        ("vgg_digits", 0.35, "accuracy", 1)
    ]


def test_and_are_read_by_the_names_they_were_written_by(filled, url):
    trial = load_study(open_storage(url, create=False), "digits").trials[0]
    assert measurement_of(trial) == MEASURED
    assert trial.user_attrs["recipe"] == {"shape": "linear", "widths": {"a": 3, "b": 4}}
    assert trial.user_attrs["versions"] == {"x": "1"}
    assert history_of(trial)[1] == {
        "number": 1, "compute": 0.5, "alpha": 0.25, "folded_metric": 0.9, "alphas": [0.5, 0.0],
    }  # fmt: skip


def test_a_later_history_keeps_the_seconds_of_the_milestones(filled):
    storage, study = filled
    trial = study.ask()
    add_milestone(trial, {"number": 0, "folded_metric": 0.1}, 2.5)
    set_user_attrs(trial, {"history": [{"number": 0, "folded_metric": 0.2}, {"number": 1, "folded_metric": 0.3}]})
    rows = ask(storage, f"SELECT folded_metric, seconds FROM milestones WHERE trial_id = {trial._trial_id}")
    assert rows == [(0.2, 2.5), (0.3, None)]


def test_a_write_that_fails_leaves_neither_rows_nor_attributes(filled):
    _, study = filled
    trial = study.ask()
    with pytest.raises(TypeError):
        set_user_attrs(trial, {"macs": 5, "metric": 0.5, "note": object()})
    assert study.trials[2].user_attrs == {}


def test_an_entry_without_a_column_is_not_dropped_silently(filled):
    trial = filled[1].ask()
    with pytest.raises(ValueError, match="no column for temperature of a trial's report"):
        add_milestone(trial, {"number": 0, "temperature": 3}, 0.0)


class TestReports:
    def test_a_report_is_one_commit_and_optunas_too(self, filled, url):
        storage, study = filled
        trial, commits = study.ask(), []
        event.listen(study._storage._backend.engine, "commit", commits.append)
        for number, value in enumerate((0.25, math.inf, -math.inf, math.nan)):
            add_milestone(trial, {"number": number, "folded_metric": 0.5}, 1.0, shown=value)
        assert len(commits) == 4
        found = optuna.load_study(storage=optuna.storages.RDBStorage(url), study_name="digits").trials[2]
        expected = {0: 0.25, 1: math.inf, 2: -math.inf, 3: math.nan}
        assert found.intermediate_values == pytest.approx(expected, nan_ok=True)
        rows = ask(storage, f"SELECT number FROM milestones WHERE trial_id = {trial._trial_id}")
        assert rows == [(0,), (1,), (2,), (3,)]

    def test_a_report_that_is_repeated_is_there_once(self, filled):
        trial = filled[1].ask()
        for _ in range(2):  # a server that went away after it had committed
            add_milestone(trial, {"number": 0, "folded_metric": 0.5}, 1.0, shown=0.5)
        assert filled[1].trials[2].intermediate_values == {0: 0.5}

    def test_a_pruner_hears_it(self, filled):
        study = filled[1]
        study.pruner = optuna.pruners.ThresholdPruner(lower=0.2)
        trial = study.ask()
        add_milestone(trial, {"number": 0}, 1.0, shown=0.3)
        assert not trial.should_prune()
        add_milestone(trial, {"number": 1}, 2.0, shown=0.1)
        assert trial.should_prune()

    def test_of_a_trial_that_another_process_ended_is_refused_whole(self, filled):
        storage, study = filled
        trial = study.ask()
        study.tell(trial.number, state=TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            add_milestone(trial, {"number": 0}, 1.0, shown=0.5)
        for table in ("milestones", "trial_intermediate_values"):
            assert ask(storage, f"SELECT count(*) FROM {table} WHERE trial_id = {trial._trial_id}") == [(0,)]


def test_a_trial_that_is_added_whole_has_its_rows(filled):
    storage, study = filled
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={**MEASURED._asdict(), "note": "x"}))
    assert measurement_of(study.trials[2]) == MEASURED
    assert ask(storage, "SELECT count(*) FROM networks") == [(2,)]


def test_every_field_of_a_measurement_has_a_column():
    assert set(Measurement._fields) <= set(table_of(Network).c.keys())


@pytest.mark.parametrize("by", ["optuna", "sql"])
def test_rows_go_with_optunas(filled, url, by):
    storage, _ = filled
    counts = [f"SELECT count(*) FROM {model.__tablename__}" for model in (*OF_STUDIES, *OF_TRIALS)]
    storage.set_study_values(
        1, {"groups": [{"name": "a", "width": 6, "resolution": [8, 8], "saves": 0.1, "errors": []}]}
    )
    storage.set_study_values(1, {"baseline": {"metric": 0.9, "network": "b"}})
    assert all(ask(storage, count) != [(0,)] for count in counts)
    plain = optuna.storages.RDBStorage(url)  # as optuna-dashboard: without foreign keys
    if by == "optuna":
        optuna.delete_study(storage=plain, study_name="digits")
    else:
        with plain.engine.begin() as connection:
            connection.execute(text("DELETE FROM studies"))
    assert [ask(storage, count) for count in counts] == [[(0,)]] * len(counts)


def test_a_study_that_is_deleted_while_it_runs_is_told_in_one_line(filled, url):
    storage, study = filled
    trial = study.ask()
    plain = optuna.storages.RDBStorage(url)
    optuna.delete_study(storage=plain, study_name="digits")
    for act in (
        lambda: add_milestone(trial, {"number": 0}, 0.0),
        lambda: add_milestone(trial, {"number": 0}, 0.0, shown=0.5),
        lambda: set_user_attrs(trial, {"macs": 5}),
        lambda: trial.report(0.5, 0),
        lambda: study.set_user_attr("identity", "x"),
        lambda: study.get_trials(),
    ):
        with pytest.raises(StudyError, match="the study was deleted while it was used"):
            act()
    assert ask(storage, "SELECT count(*) FROM runs") == [(0,)]


def test_baseline_of_the_first_stays(filled):
    storage, study = filled
    record = {
        "metric": 0.9,
        "interval": [0.8, 0.95],
        "examples": 10,
        "macs": 5,
        "parameters": 6,
        "source": "x",
        "epochs": 3,
    }
    assert storage.add_baseline(study._study_id, {**record, "network": "a"})
    assert not storage.add_baseline(study._study_id, {**record, "network": "b"})
    assert study.user_attrs["baseline"] == {**record, "network": "a"}
    assert ask(storage, "SELECT low, high, file FROM baselines") == [(0.8, 0.95, "a")]
