"""What a trial leaves in the database, latency as objective and budget, and trials that are the same."""

import json
from itertools import count

import optuna
import pytest
import torch
from optuna.trial import TrialState

from branchfold.models.checkpoints import load_network
from branchfold.search.events import TrialEnded, TrialReport, TrialStarted
from branchfold.search.run import worker as runner
from branchfold.search.run.recording import same_trial
from branchfold.search.space import Recipe
from branchfold.search.trial import trial
from branchfold.search.trial.latency import Latency
from branchfold.search.trial.problem import Problem
from branchfold.studies.database.answers import unpacked
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.rungs import WHOLE
from branchfold.studies.database.storage import stored_definition
from branchfold.studies.database.trials import schedule_name

# Four recipes in all: two shapes, two rates; everything else is fixed.
FEW = {
    "space__schedule": {"shape": ["instant", "linear"], "fade": 0.5},
    "space__keep": {"per": "network", "range": 0.5},
    "space__training": {"lr": [0.01, 0.02], "restarts": "none"},
    "space__blending": {"mode": "convex"},
    "trial": {"epochs": 1},
    "search": {"sampler": "random", "pruner": "none", "recipes": []},
}
ONE = {
    **FEW,
    "space__training": {"lr": 0.01, "restarts": "none"},
    "space__schedule": {"shape": "linear", "fade": 0.5},
}


def timed(share, unsure=False):
    """A latency of this share of the baseline's 10 ms, whose ratios spread by 0.08."""
    return Latency(10 * share, (9 * share, 11 * share), share, (share - 0.04, share + 0.04), unsure, 1, 1, 1)


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


class TestSame:
    def test_is_not_run_twice(self, study_run):
        study, url, events = study_run(study={"trials": 8}, **FEW)
        recipes = [json.dumps(t.user_attrs["recipe"], sort_keys=True) for t in study.trials]
        firsts = {recipe: recipes.index(recipe) for recipe in recipes}
        assert len(firsts) <= 4 < len(recipes) == 8
        assert [event.trial for event in of(events, TrialStarted)] == sorted(firsts.values())
        for number, recipe in enumerate(recipes):
            found, first = study.trials[number], study.trials[firsts[recipe]]
            assert found.state == TrialState.COMPLETE
            assert found.value == first.value
            assert found.intermediate_values == first.intermediate_values
            assert found.user_attrs["network"] == first.user_attrs["network"]
            assert (artifact_folder(url) / found.user_attrs["network"]).is_file()
            if number == firsts[recipe]:
                assert "same_as" not in found.user_attrs
            else:
                earlier = [i for i in range(number) if recipes[i] == recipe]
                assert found.user_attrs["same_as"] in earlier
        notes = [event.note for event in of(events, TrialEnded)]
        assert sum(note.startswith("same as trial ") for note in notes) == 8 - len(firsts)

    def test_one_that_was_stopped_early_stops_again_without_training(self, study_run, monkeypatch):
        def stopped(*args, on_report, **kwargs):
            on_report(trial.Report(0, 0.0, 1.0, 0.5, 0.25, float("nan")))
            raise optuna.TrialPruned

        monkeypatch.setattr(runner, "run_trial", stopped)
        study, _, events = study_run(study={"trials": 2}, **ONE)
        assert [t.state for t in study.trials] == [TrialState.PRUNED] * 2
        assert study.trials[1].user_attrs["same_as"] == 0
        assert study.trials[1].intermediate_values == {0: 0.25}
        assert [event.note for event in of(events, TrialEnded)] == ["", "same as trial 0"]
        assert len(of(events, TrialReport)) == 1

    def test_failed_and_running_ones_do_not_count(self):
        study = optuna.create_study()
        recipe = Recipe.from_dict(
            {"shape": "linear", "parameters": {}, "fade": 0.5, "widths": {"a": 1}, "training": {"lr": 0.1}}
        )
        for state in (TrialState.FAIL, None, TrialState.PRUNED):
            assert same_trial(study, recipe, WHOLE) is None
            asked = study.ask()
            asked.set_user_attr("recipe", json.loads(json.dumps(recipe.to_dict())))
            if state is not None:
                study.tell(asked, state=state)
        assert same_trial(study, recipe, WHOLE).number == 2

    def test_keeps_the_constraint_of_the_first(self, study_run, monkeypatch):
        monkeypatch.setattr(trial, "compare_latency", lambda *args, **kwargs: timed(1.0))
        study, _, _ = study_run(study={"trials": 2, "budget": {"latency": 0.6}}, **ONE)
        assert study.trials[1].user_attrs["same_as"] == 0
        assert study.trials[0].constraints
        assert study.trials[1].constraints == study.trials[0].constraints


class TestLatency:
    @pytest.fixture
    def latencies(self, monkeypatch):
        """A pruned network takes 3, 4, 5, … ms, the baseline 10."""
        counts = count(3)

        def compare_latency(network, baseline, images, *, limit):
            assert baseline.features[0].out_channels == 8 > network.features[0].out_channels
            return timed(0.1 * next(counts))

        monkeypatch.setattr(trial, "compare_latency", compare_latency)

    def test_as_an_objective(self, study_run, latencies):
        changes = {**FEW, "study": {"objectives": ["accuracy", "latency"], "budget": {}, "trials": 2}}
        changes["space__training"] = {"lr": {"low": 0.01, "high": 0.02}, "restarts": "none"}
        study, _, _ = study_run(**changes)
        assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
        assert study.metric_names == ["accuracy", "latency"]
        assert [t.values[1] for t in study.trials] == pytest.approx([3.0, 4.0])
        assert [t.user_attrs["latency_share"] for t in study.trials] == pytest.approx([0.3, 0.4])

    def test_as_a_budget_is_a_constraint(self, study_run, latencies):
        changes = {**FEW, "study": {"budget": {"latency": 0.35}, "trials": 2}}
        changes["space__training"] = {"lr": {"low": 0.01, "high": 0.02}, "restarts": "none"}
        study, _, _ = study_run(**changes)
        assert [max(t.constraints.values()) for t in study.trials] == pytest.approx([-0.05, 0.05])
        assert study.best_trial.number == 0
        # Widths are not scaled to it: half of the channels everywhere.
        assert study.trials[0].user_attrs["recipe"]["widths"]["features.0"] == 4

    def test_that_is_unsure_is_over_a_budget_by_what_it_spreads(self, study_run, monkeypatch):
        monkeypatch.setattr(trial, "compare_latency", lambda *args, **kwargs: timed(0.3, unsure=True))
        study, _, events = study_run(**{**FEW, "study": {"budget": {"latency": 0.35}, "trials": 1}})
        assert [max(t.constraints.values()) for t in study.trials] == pytest.approx([0.08])
        assert [event.within for event in of(events, TrialEnded)] == [False]
        attributes = study.trials[0].user_attrs
        assert attributes["latency_unsure"] is True
        assert attributes["latency_spread"] == pytest.approx(0.08)
        assert (attributes["latency_threads"], attributes["latency_batch"]) == (1, 1)


def test_compute_is_recorded_and_ends_a_trial_within_a_step(study_run):
    changes = {**FEW, "study": {"trials": 1}, "trial": {"epochs": None, "compute": 0.6}}
    study, _, events = study_run(**changes)
    (found,) = study.trials
    # 256 training examples in batches of 32: a step of the network with all its branches costs less than 2 / 8.
    assert 0.6 <= found.user_attrs["compute"] < 0.6 + 0.25
    reports = of(events, TrialReport)
    assert [report.compute for report in reports] == sorted(report.compute for report in reports)
    assert reports[-1].compute == found.user_attrs["compute"]
    assert {(report.unit, report.total) for report in reports} == {("report", 5)}
    assert reports[-1].alpha == 0.0


def test_everything_that_decides_a_trial_is_kept(study_run):
    study, _, _ = study_run(**{**FEW, "study": {"trials": 1, "seed": 7}})
    attributes = study.trials[0].user_attrs
    assert attributes["seed"] == 7
    assert {*attributes["versions"]} == {"python", "branchfold", "torch", "pytorch-lightning", "optuna"}
    recipe = Recipe.from_dict(json.loads(json.dumps(attributes["recipe"])))
    assert schedule_name(study.trials[0]) == recipe.shape
    assert [entry["number"] for entry in attributes["history"]] == [0, 1]
    assert attributes["history"][-1]["folded_metric"] == attributes["metric"] == study.trials[0].value


def test_which_examples_the_network_has_right_is_kept_in_few_characters(study_run):
    study, url, _ = study_run(**{**FEW, "study": {"trials": 1}})
    attributes = study.trials[0].user_attrs
    right = unpacked(attributes["answers"])
    network = load_network(artifact_folder(url) / attributes["network"])
    data = Problem.of(stored_definition(study)).data
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        found = network((data.validation.images / 255 - mean) / std).argmax(1)
    assert right.tolist() == (found == data.validation.labels).tolist()
    assert right.mean() == attributes["metric"]
    assert len(json.dumps(attributes["answers"])) < 100
