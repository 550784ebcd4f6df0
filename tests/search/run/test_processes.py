"""Running studies in this process: to their ends, refused, failing, with several objectives."""

import dataclasses
import json
from pathlib import Path

import optuna
import pytest
import torch
from sqlalchemy import text
from watching import states

from branchfold.errors import BranchfoldError, DataError, StudyError
from branchfold.search.data import opening
from branchfold.search.data import splits as data
from branchfold.search.data.known.source import Source
from branchfold.search.events import (
    BaselineEpoch,
    BaselineReady,
    Notice,
    Screened,
    StudyMetric,
    TrialEnded,
    TrialStarted,
)
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.run import worker as runner
from branchfold.search.space import SearchSpace
from branchfold.search.trial.baseline import make_baseline
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import measurement_of
from branchfold.studies.metric import ACCURACY

# Every dimension of the tiny study in steps, as a grid needs it.
STEPS = {
    "space__keep": {"range": {"low": 0.1, "high": 1.0, "step": 0.1}},
    "space__training": {"lr": 0.1},
    "space__schedule": {"shape": "instant", "fade": 0.5},
}


def kinds(events, kind):
    return [event for event in events if isinstance(event, kind)]


class TestOneProcess:
    def test_runs_to_its_number_and_not_beyond(self, study_run):
        random = {"startup_trials": 10}  # a model of the first trials would not repeat them anyway
        study, url, events = study_run(search=random)
        assert states(study) == {"COMPLETE": 3}
        assert [event.trial for event in kinds(events, TrialStarted)] == [0, 1, 2]
        assert [event.finished for event in kinds(events, TrialEnded)] == [1, 2, 3]
        best = max(study.trials, key=lambda trial: (trial.value, -trial.user_attrs["macs"]))
        assert kinds(events, TrialEnded)[-1].best == (best.number, best.value)
        assert len(kinds(events, BaselineEpoch)) == 4
        for trial, event in zip(study.trials, kinds(events, TrialEnded), strict=True):
            measured = measurement_of(trial)
            assert 0.24 < measured.macs_share <= 0.25
            assert trial.value == measured.metric == event.metric == trial.intermediate_values[2]
            assert trial.user_attrs["folding_error"] < 1e-9
            assert trial.user_attrs["seed"] == trial.number
            assert trial.user_attrs["recipe"]["training"]["lr"] == trial.params["training.lr"]
            assert (artifact_folder(url) / trial.user_attrs["network"]).is_file()

        again, _, later = study_run(url=url, search=random)
        assert states(again) == {"COMPLETE": 3}
        assert later == [
            Notice("study tiny has 3 trials finished of 3"),
            StudyMetric(ACCURACY),
        ]

        more, _, later = study_run(url=url, search=random, study={"trials": 5})
        assert states(more) == {"COMPLETE": 5}
        assert [event.trial for event in kinds(later, TrialStarted)] == [3, 4]
        # The baseline of the first run stays, and no proposal comes twice.
        (kept,) = kinds(later, BaselineReady)
        assert kept.source == "from an earlier run"
        assert not kinds(later, BaselineEpoch)
        assert kept.metric == kinds(events, BaselineReady)[0].metric
        rates = [trial.params["training.lr"] for trial in more.trials]
        assert len(set(rates)) == 5

    def test_same_seed_same_study_other_seed_another(self, study_run, tmp_path):
        two = {"trials": 2}
        first, again = (study_run(url=f"sqlite:///{tmp_path}/{name}.db", study=two)[0] for name in "ab")
        other, _, _ = study_run(url=f"sqlite:///{tmp_path}/c.db", study={"trials": 1, "seed": 1})
        assert [trial.params for trial in first.trials] == [trial.params for trial in again.trials]
        assert [trial.value for trial in first.trials] == [trial.value for trial in again.trials]
        assert other.trials[0].params != first.trials[0].params

    def test_a_grid_ends_when_it_is_through(self, study_run):
        small = {
            "search": {"sampler": "grid"},
            "space__schedule": {"shape": ["instant", "linear"], "fade": [0.25, 0.5], "defaults": True},
            "space__keep": {"per": "network", "range": 0.5},
            "space__training": {"lr": 0.02, "restarts": "none"},
            "space__blending": {"mode": "probability"},
            "space__stages": {"order": "forward"},
        }
        study, url, events = study_run(study={"trials": 9}, **small)
        assert sorted(t.params.get("schedule.fade", 0.0) for t in study.trials) == [0.0, 0.25, 0.5]
        assert events[-1] == Notice("the grid has no more than 3 trials")
        again, _, _ = study_run(url=url, study={"trials": 9}, **small)
        assert len(again.trials) == 3

    def test_never_sees_the_test_split(self, study_run, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("the search asked for the test split")

        monkeypatch.setattr(data, "load_test", refuse)
        monkeypatch.setattr(opening, "load_test", refuse)
        read = Source.read
        monkeypatch.setattr(
            Source, "read", lambda self, root, part: read(self, root, part) if part == "train" else refuse()
        )
        study, _, _ = study_run(study={"trials": 1})
        assert states(study) == {"COMPLETE": 1}

    def test_lost_baseline_is_told(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        baseline = study.user_attrs["baseline"]
        (artifact_folder(url) / baseline["network"]).unlink()
        (artifact_folder(url) / baseline["copy"]).rename(artifact_folder(url) / "elsewhere")
        with pytest.raises(StudyError, match=r"the baseline of 'tiny' is missing.*put the folder `artifacts` back"):
            study_run(url=url, study={"trials": 2})
        assert states(study) == {"COMPLETE": 1}
        (artifact_folder(url) / "elsewhere").rename(artifact_folder(url) / baseline["copy"])
        _, _, events = study_run(url=url, study={"trials": 2})
        assert any("was restored from its second copy" in event.text for event in kinds(events, Notice))
        assert kinds(events, BaselineReady)[0].source == "from an earlier run"

    def test_a_finished_study_ends_the_trial_of_a_process_that_died_before_its_first_heartbeat(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        with pytest.warns(UserWarning, match="Heartbeat"):
            study.ask()
        study_run(url=url, study={"trials": 1})
        assert states(study) == {"COMPLETE": 1, "RUNNING": 1}  # it may be about to give one
        with open_storage(url, create=False).engine.begin() as connection:
            connection.execute(text("UPDATE trials SET datetime_start = '2020-01-01 00:00:00' WHERE number = 1"))
        study_run(url=url, study={"trials": 1})
        assert states(study) == {"COMPLETE": 1, "FAIL": 1}

    def test_another_definition_is_refused(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        with pytest.raises(StudyError, match=r"exists with another definition: trial.epochs was 2 and is now 3"):
            study_run(url=url, trial={"epochs": 3})
        assert states(study) == {"COMPLETE": 1}

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": {"num_classes": 7}},
            {"space__schedule": {"knee": {"threshold": 1.5}}},
            {"study": {"budget": {"macs": 0.001}}},
            {"baseline": {"epochs": None, "checkpoint": "none.pt"}},
            {"search": {"sampler": "grid"}},
            {"search": {"sampler": "grid"}, "screening": {"candidates": 5}, **STEPS},
        ],
        ids=str,
    )
    def test_mistakes_found_by_running_leave_nothing_behind(self, study_run, changes, tmp_path):
        url = f"sqlite:///{tmp_path}/s.db"
        messages = (
            r"set model.num_classes|knee's threshold|cannot be met|no checkpoint|grid\" needs steps|cannot be screened"
        )
        with pytest.raises(BranchfoldError, match=messages):
            study_run(url=url, **changes)
        assert list(tmp_path.iterdir()) == []
        study_run(url=url, study={"trials": 1})

    def test_a_place_for_networks_that_will_not_do_leaves_no_database(self, study_run, tmp_path):
        (tmp_path / "artifacts").touch()
        with pytest.raises(StudyError, match="artifacts, where the study's networks are to be kept, is no folder"):
            study_run()
        assert [file.name for file in tmp_path.iterdir()] == ["artifacts"]

    def test_a_baseline_that_diverged_is_not_kept_and_its_study_is_not_made(self, study_run, tmp_path):
        url = f"sqlite:///{tmp_path}/s.db"
        with pytest.raises(StudyError, match=r"the baseline diverged in epoch \d: .*; lower baseline.lr = 1e\+30"):
            study_run(url=url, baseline={"lr": 1e30})
        assert optuna.get_all_study_names(open_storage(url, create=False)) == []
        assert list(artifact_folder(url).iterdir()) == []
        study_run(url=url, study={"trials": 1})

    def test_a_deleted_studys_screening_is_not_the_next_ones(self, study_run):
        small = {"study": {"trials": 1}, "screening": {"candidates": 2}, "trial": {"epochs": 1}}
        _, url, events = study_run(**small)
        assert [event.candidate for event in kinds(events, Screened)] == [1, 2]
        storage = open_storage(url, create=False)
        optuna.delete_study(study_name="tiny", storage=storage)
        study, _, events = study_run(url=url, model={"width": 0.375}, **small)
        assert events.count(Notice("deleted tiny-screening: it belonged to a study tiny that is no more")) == 1
        assert [event.candidate for event in kinds(events, Screened)] == [1, 2]
        screening = load_study(storage, "tiny-screening")
        assert screening.user_attrs["definition"]["model"]["width"] == 0.375
        assert screening.user_attrs["identity"] == study.user_attrs["identity"]

    def test_missing_data_without_a_network(self, study_run, monkeypatch, tmp_path):
        def refuse(*args, **kwargs):
            raise OSError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        changes = {"model": {"factory": "vgg16"}, "data": {"name": "cifar10", "root": str(tmp_path / "none")}}
        with pytest.raises(DataError, match=r"cifar10 is not in .*none and cannot be downloaded.*--data-root"):
            study_run(**changes)
        assert not (tmp_path / "none").exists()

    def test_baseline_of_a_faster_process_is_used(self, study_run, monkeypatch):
        """While this process trains a baseline another one saves its own, which every trial is measured against."""

        def beaten(problem, path, notify, **options):
            record = make_baseline(problem, path, notify, **options)
            study = open_study(open_storage(url, create=False), problem.definition)
            name = (artifact_folder(url) / "first").name
            (artifact_folder(url) / name).write_bytes(path.read_bytes())
            study.set_user_attr("baseline", {**record, "metric": 0.123, "network": name})
            return record

        _, url, _ = study_run(study={"trials": 1, "name": "other"})
        monkeypatch.setattr(runner, "make_baseline", beaten)
        study, _, events = study_run(url=url, study={"trials": 1})
        assert kinds(events, BaselineReady)[0].metric == 0.123
        assert study.user_attrs["baseline"]["network"] == "first"


class TestFailures:
    def test_diverging_trials_are_pruned_and_end_nothing(self, study_run):
        study, _, events = study_run(space__training={"lr": 1e12}, study={"trials": 2})
        assert states(study) == {"PRUNED": 2}
        assert all("the training diverged" in event.note for event in kinds(events, TrialEnded))

    def test_several_in_a_row_end_the_run(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise StudyError("no room left")

        monkeypatch.setattr(runner, "run_trial", fail)
        with pytest.raises(StudyError, match="3 trials failed in a row, the last one: no room left"):
            study_run(study={"trials": 10})

    def test_failing_proposals_count_as_well(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise StudyError("nothing fits")

        monkeypatch.setattr(SearchSpace, "propose", fail)
        with pytest.raises(StudyError, match=r"3 trials failed in a row.*nothing fits"):
            study_run(study={"trials": 10})

    def test_single_ones_do_not_count_and_are_made_up_for(self, study_run, monkeypatch):
        real, calls = runner.run_trial, []

        def sometimes(*args, **kwargs):
            calls.append(1)
            if len(calls) % 2:
                raise StudyError("a hiccup")
            return real(*args, **kwargs)

        monkeypatch.setattr(runner, "run_trial", sometimes)
        study, _, events = study_run()
        assert states(study) == {"COMPLETE": 3, "FAIL": 3}
        assert study.trials[0].user_attrs["note"] == "a hiccup"
        assert [event.state for event in kinds(events, TrialEnded)] == ["fail", "complete"] * 3

    def test_an_error_of_the_program_is_raised(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise ZeroDivisionError

        monkeypatch.setattr(runner, "run_trial", fail)
        with pytest.raises(ZeroDivisionError):
            study_run()


class TestObjectives:
    def test_two_give_a_pareto_front(self, study_run):
        study, _, _ = study_run(
            study={"objectives": ["accuracy", "macs"], "budget": {}, "trials": 4}, space__keep={"per": "network"}
        )
        assert states(study) == {"COMPLETE": 4}
        points = [(trial.user_attrs["metric"], trial.user_attrs["macs"]) for trial in study.trials]
        assert [tuple(trial.values) for trial in study.trials] == points
        front = {
            i for i, (a, m) in enumerate(points) if not any(b >= a and n <= m and (b, n) != (a, m) for b, n in points)
        }
        assert {trial.number for trial in study.best_trials} == front

    def test_diverged_trials_are_no_trouble_there(self, study_run):
        study, _, _ = study_run(study={"objectives": ["accuracy", "macs"], "trials": 1}, space__training={"lr": 1e12})
        assert states(study) == {"PRUNED": 1}


def test_two_runs_of_one_study_count_and_compare_together(define, problem, baseline, tmp_path):
    """Each in turn runs a trial; what it tells is what the database knows of both."""
    definition = define(study={"trials": 3})
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    problem, ended = dataclasses.replace(problem, definition=definition), []
    workers = [runner.Worker(problem, storage, ended.append, number) for number in range(2)]
    with quiet_optuna():
        for target in (1, 2, 3):
            workers[target % 2].run(target, baseline)
    ended = kinds(ended, TrialEnded)
    assert [event.finished for event in ended] == [1, 2, 3]
    values = [trial.value for trial in workers[0].study.trials]
    assert [event.metric for event in ended] == values
    assert [event.best.metric for event in ended] == [max(values[: i + 1]) for i in range(3)]


def test_results_are_json_and_small(study_run, tmp_path):
    study, _, _ = study_run(study={"trials": 1})
    attributes = study.trials[0].user_attrs
    assert len(json.dumps(attributes)) < 5000
    assert Path(artifact_folder(f"sqlite:///{tmp_path}/s.db") / attributes["network"]).stat().st_size < 100_000
    assert torch.get_num_threads() == 1
