"""The six queries of docs/database.md answer, on SQLite and on PostgreSQL, what Optuna and Python answer."""

import re
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from branchfold.docs.generate import tables
from branchfold.studies.database.optuna_internals import add_milestone, set_user_attrs
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import best_trial, finished_trials, history_of, ranked_trials
from branchfold.studies.definition.reading import load_definition
from branchfold.studies.metric import Metric

from ..conftest import MEASURED

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")
QUERIES = re.findall(r"```sql\n(.*?)\n```", Path(tables.ROOT / "docs" / "database.md").read_text("utf-8"), re.DOTALL)
SHAPES, COURSE, WIDTHS, FAILURES, FIRST, SPENT = range(6)
DEFINITION = ["study.budget={macs = 0.35, latency = 0.9}"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgresql")
    return f"sqlite:///{tmp_path}/s.db"


def run(study, shape, course, state=TrialState.COMPLETE, measured=MEASURED, **more):
    """A trial that reported these values, each half an epoch and 10 s after the one before."""
    trial = study.ask()
    recipe = {"shape": shape, "widths": {"a": 3, "b": len(course)}}
    set_user_attrs(trial, {"recipe": recipe, "seed": trial.number, **more})
    for number, value in enumerate(course):
        entry = {
            "number": number,
            "compute": number / 2,
            "alpha": 1 - number / 3,
            "metric": 0.8,
            "folded_metric": value,
        }
        add_milestone(trial, entry, 10.0 * number)
    if state == TrialState.COMPLETE:
        set_user_attrs(trial, {**measured._asdict(), "metric": course[-1], "compute": len(course) / 2})
    study.tell(trial, course[-1] if state == TrialState.COMPLETE else None, state)


@pytest.fixture
def study(url):
    study = open_study(open_storage(url, create=True), load_definition("digits", DEFINITION))
    run(study, "linear", [0.3, 0.5, 0.7], full_widths={"a": 6, "b": 12})
    run(study, "knee", [0.4, 0.6, 0.74, 0.8])
    run(study, "linear", [0.6, 0.76, 0.78])
    run(study, "knee", [0.5, 0.95], measured=MEASURED._replace(macs_share=0.36))  # over the budget
    run(study, "instant", [0.1], TrialState.PRUNED)
    run(study, "linear", [0.2], TrialState.FAIL, note='it\'s "out" of memory, 100 %')
    run(study, "linear", [0.2], TrialState.FAIL, note="a hiccup")
    run(study, "knee", [0.2], TrialState.FAIL, note="a hiccup")
    run(study, "knee", [0.4, 0.6, 0.74, 0.8], same_as=1)
    run(study, "knee", [0.5, 0.99], measured=MEASURED._replace(latency_unsure=True))
    study.ask()
    return study


@pytest.fixture
def ask(study):
    def ask(query):
        with study._storage._backend.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query.replace(":", "\\:")))]

    return ask


def test_queries(study, ask):
    trials, answers = study.trials, [ask(query) for query in QUERIES]
    assert len(answers) == 6
    # Only what is within the budget counts, and what was stopped early on the way to it.
    mean = pytest.approx((0.7 + 0.78) / 2)
    assert answers[SHAPES] == [("knee", 2, 0.8, 0.8), ("linear", 2, 0.78, mean), ("instant", 1, None, None)]
    keys = ("number", "compute", "alpha", "metric", "folded_metric")
    assert answers[COURSE] == [tuple(entry[key] for key in keys) for entry in history_of(trials[3])]
    best = best_trial(study, load_definition("digits", DEFINITION))
    assert best.number == 1
    # The full widths are known from the one trial that had them.
    assert sorted(answers[WIDTHS]) == [("a", 3, 6, 0.5), ("b", 4, 12, pytest.approx(1 / 3))]
    assert answers[FAILURES] == [("a hiccup", 2), ('it\'s "out" of memory, 100 %', 1)]
    [(number, milestone, compute, _)] = answers[FIRST]
    assert (number, milestone, compute) == (2, 1, 0.5)  # 10 s after its start: trial 1 needed 30 s
    [(count, compute, hours)] = answers[SPENT]
    ran = [trial for trial in trials if "same_as" not in trial.user_attrs]
    known = [trial.user_attrs.get("compute", (history_of(trial) or [{"compute": 0}])[-1]["compute"]) for trial in ran]
    assert (count, compute) == (len(ran), pytest.approx(sum(known)))
    seconds = sum(trial.duration.total_seconds() for trial in ran if trial.duration)
    assert 3600 * hours == pytest.approx(seconds, abs=0.02)
    study.set_user_attr("baseline", {"metric": 0.9, "network": "a", "taught_compute": 0.75})
    assert ask(QUERIES[SPENT])[0][1] == pytest.approx(sum(known) + 0.75)


def test_best_trials_are_ranked_as_python_ranks_them(study, ask):
    ranked = ranked_trials(study, load_definition("digits", DEFINITION))
    found = ask("SELECT trial, place FROM best_trials WHERE study = 'digits' ORDER BY place")
    assert found == [(trial.number, place) for place, (trial, _) in enumerate(ranked, start=1)]
    assert len(found) == 4
    assert ask("SELECT count(*) FROM trial_results WHERE state IN ('complete', 'pruned')") == [
        (len(finished_trials(study)),)
    ]


def test_of_a_metric_that_is_minimised_the_lowest_is_the_best(url):
    definition = load_definition("digits", ["task.name=regression", 'study.objectives=["mae"]', "study.budget={}"])
    study = open_study(open_storage(url, create=True), definition, Metric("mae", higher_is_better=False))
    for value in (0.4, 0.2, 0.3):
        run(study, "linear", [value])
    with study._storage._backend.engine.connect() as connection:
        assert connection.execute(text("SELECT trial FROM best_trials ORDER BY place")).scalars().all() == [1, 2, 0]
        assert connection.execute(text("SELECT best, mean FROM shape_results")).all() == [(0.2, pytest.approx(0.3))]
