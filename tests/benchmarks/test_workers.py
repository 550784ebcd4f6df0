"""The parts of `benchmarks/workers.py` that decide its figures."""

import json
from argparse import Namespace
from datetime import datetime, timedelta

import optuna
import pytest

from branchfold.benchmarks import workers
from branchfold.benchmarks.worker_parts.database import multiply_trials
from branchfold.benchmarks.worker_parts.rates import hourly
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.definition.reading import load_definition

_SETTINGS = {"trials": 4}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_in_lockstep_are_worth_their_number(workers):
    minutes = [minute for minute in range(1, 5) for _ in range(workers)]
    ends = [datetime(2026, 1, 1) + timedelta(minutes=minute) for minute in minutes]
    assert hourly(ends[::-1], workers) == pytest.approx(60 * workers)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_copied_trials_are_read_like_those_that_ran(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    study = open_study(open_storage(url, create=True), load_definition("digits"))
    for value in (0.5, 0.25, 0.75):
        trial = study.ask()
        trial.suggest_float("keep", 0, 1)
        trial.report(value, 2)
        set_user_attrs(trial, {"seed": trial.number, "recipe": {"shape": "linear", "widths": {"a": 3}}})
        study.tell(trial, value)
    multiply_trials(tmp_path / "s.db", 8)
    trials = load_study(open_storage(url, create=False), "digits").trials
    assert [trial.number for trial in trials] == list(range(8))
    for trial in trials:
        first = trials[trial.number % 3]
        assert trial.state == optuna.trial.TrialState.COMPLETE
        assert (trial.value, trial.params, trial.user_attrs) == (first.value, first.params, first.user_attrs)
        assert trial.intermediate_values == {2: first.value}
    assert [trial.value for trial in trials] == [0.5, 0.25, 0.75, 0.5, 0.25, 0.75, 0.5, 0.25]


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    output, asked = tmp_path / "w.json", []

    def interrupted(number, trials, epochs):
        asked.append(number)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return 10.0 * number

    monkeypatch.setattr(workers, "trials_an_hour", interrupted)
    monkeypatch.setattr(workers.Problem, "of", lambda definition: None)
    options = Namespace(rounds=2, trials=4, epochs=1, sizes=[], seconds=0)
    record = workers.Record(output, _SETTINGS)
    lines = workers.measured(record, options)
    for _ in range(3):
        record.keep(next(lines))
    with pytest.raises(KeyboardInterrupt):
        next(lines)
    assert json.loads(output.read_text())["trials_an_hour"] == {"1": [10, 10], "2": [20]}
    again = workers.Record(output, _SETTINGS)
    assert len(list(workers.measured(again, options))) == 1
    assert asked == [1, 2, 1, 2, 2]
    with pytest.raises(SystemExit, match="was measured with"):
        workers.Record(output, {"trials": 5})
