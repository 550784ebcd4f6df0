"""Finalists: which recipes they are, which one is selected, and that they are trained once."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from branchfold.models.checkpoints import read_description
from branchfold.search.events import FinalistEnded, FinalistsStarted, Notice, TrialReport
from branchfold.search.process.signals import Interrupted
from branchfold.search.run.processes import quiet_optuna, run_study
from branchfold.search.run.repeating import finalists, runs
from branchfold.search.run.repeating.finalists import finalists_of, select, train_finalists
from branchfold.search.run.repeating.runs import open_refined
from branchfold.search.trial.trial import Diverged
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.places.artifacts import NETWORK
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import Measurement

# Trials are asked for by hand here, without a heartbeat, of which Optuna warns.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")
NEW_SEEDS = (1_000_000, 1_000_001)


@pytest.fixture
def made(define, tmp_path):
    """Makes an empty study by its definition: finalists and objectives may be given."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)

    def make(count=2, **study):
        definition = define(study={"name": "made", **study}, search={"finalists": count, "pruner": "none"})
        made = SimpleNamespace(storage=storage, definition=definition, study=open_study(storage, definition))
        made.finalists = lambda: finalists_of(made.study, storage, definition)
        made.select = lambda: select(made.study, storage, definition)
        return made

    return make


def add(study, recipe, accuracy, *, state=TrialState.COMPLETE, known=False, share=0.2, latency=0.5, **more):
    """A trial of a recipe that has no more than a name."""
    trial = study.ask()
    attributes = {"recipe": {"shape": recipe}, **({"known": "fold-at-once"} if known else {}), **more}
    if state == TrialState.COMPLETE:
        attributes |= Measurement(accuracy, int(1000 * share), share, 50, 0.5, 1.0, latency)._asdict()
    set_user_attrs(trial, attributes)
    study.tell(trial, [accuracy] * len(study.directions) if state == TrialState.COMPLETE else None, state=state)
    return trial.number


def add_runs(made, recipe, *accuracies, length=None):
    """Runs of a recipe on the new seeds; None is one that diverged."""
    refined = open_refined(made.storage, made.study, notify=lambda event: None)
    for seed, accuracy in zip(NEW_SEEDS, accuracies, strict=False):
        state = TrialState.PRUNED if accuracy is None else TrialState.COMPLETE
        add(refined, recipe, accuracy, state=state, seed=seed, length=length or {"epochs": 2})


class TestChosen:
    def test_are_the_best_recipes_and_the_known_one(self, made):
        of = made(count=2)
        add(of.study, "known", 0.5, known=True)
        for recipe, accuracy in (("a", 0.7), ("b", 0.9), ("c", 0.8)):
            add(of.study, recipe, accuracy)
        assert [(f.trial.number, f.known) for f in of.finalists()] == [(2, False), (3, False), (0, True)]

    def test_known_one_counts_once(self, made):
        of = made(count=2)
        add(of.study, "known", 0.9, known=True)
        add(of.study, "a", 0.7)
        add(of.study, "known", 0.9)
        assert [(f.trial.number, f.known) for f in of.finalists()] == [(0, True), (1, False)]

    def test_two_trials_of_one_recipe_are_one_finalist(self, made):
        of = made(count=2)
        for recipe, accuracy in (("a", 0.8), ("a", 0.9), ("b", 0.7), ("c", 0.6)):
            add(of.study, recipe, accuracy)
        assert [f.trial.number for f in of.finalists()] == [1, 2]

    def test_only_those_within_the_budget(self, made):
        of = made(count=2)
        add(of.study, "known", 0.5, known=True, share=0.5)
        for recipe, accuracy, share in (("a", 0.9, 0.3), ("b", 0.8, 0.25), ("c", 0.7, 0.2)):
            add(of.study, recipe, accuracy, share=share)
        assert [f.trial.number for f in of.finalists()] == [2, 3]

    def test_a_known_one_that_was_stopped_early_is_one(self, made):
        of = made(count=2)
        add(of.study, "known", None, known=True, state=TrialState.PRUNED)
        add(of.study, "a", 0.9)
        assert [(f.trial.number, f.known) for f in of.finalists()] == [(1, False), (0, True)]

    def test_one_that_failed_is_none(self, made):
        of = made(count=2)
        add(of.study, "known", None, known=True, state=TrialState.FAIL)
        add(of.study, "a", 0.9)
        assert of.finalists() == []

    def test_but_not_with_a_budget_of_latency_that_it_was_not_timed_for(self, made):
        of = made(count=2, budget={"latency": 0.6})
        add(of.study, "known", None, known=True, state=TrialState.PRUNED)
        add(of.study, "a", 0.9)
        add(of.study, "b", 0.8)
        assert [f.trial.number for f in of.finalists()] == [1, 2]

    @pytest.mark.parametrize("changes", [{"count": 1}, {"objectives": ["accuracy", "macs"]}], ids=str)
    def test_none_where_none_are_wanted_and_with_several_objectives(self, made, changes):
        of = made(**changes)
        for recipe, accuracy in (("a", 0.8), ("b", 0.9)):
            add(of.study, recipe, accuracy)
        assert of.finalists() == []
        assert not of.select().pending

    def test_none_where_there_is_nothing_to_choose(self, made):
        of = made(count=3)
        add(of.study, "a", 0.9)
        add(of.study, "a", 0.9)
        assert of.finalists() == []
        assert of.select().trial.number == 0

    def test_a_refined_study_has_none_of_its_own(self, made):
        of = made(count=2)
        add_runs(of, "a", 0.8, 0.9)
        refined = open_refined(of.storage, of.study, notify=lambda event: None)
        add(refined, "b", 0.7)
        assert finalists_of(refined, of.storage, of.definition) == []


class TestSelected:
    @pytest.fixture
    def ran(self, made):
        of = made(count=2)
        for recipe, accuracy in (("a", 0.9), ("b", 0.95), ("c", 0.5)):
            add(of.study, recipe, accuracy)
        return of

    def test_the_mean_of_the_new_runs_decides_and_the_lowest_new_seed_is_taken(self, ran):
        add_runs(ran, "b", 0.92, 0.80)  # the best trial, and the best single run
        add_runs(ran, "a", 0.85, 0.89)
        found = ran.select()
        assert (found.source.number, found.study.study_name) == (0, "made-refined")
        assert (found.trial.user_attrs["seed"], found.trial.user_attrs["metric"]) == (NEW_SEEDS[0], 0.85)
        assert [f.trial.number for f in found.finalists] == [0, 1]
        assert [f.mean for f in found.finalists] == pytest.approx([0.87, 0.86])
        assert not found.pending

    def test_one_that_diverged_loses(self, ran):
        add_runs(ran, "b", 0.99, None)
        add_runs(ran, "a", 0.5, 0.5)
        found = ran.select()
        assert found.source.number == 0
        assert [f.mean for f in found.finalists] == [0.5, None]

    def test_without_all_runs_it_is_the_best_trial_and_finalists_are_to_come(self, ran):
        assert (ran.select().trial.number, ran.select().pending) == (1, True)
        add_runs(ran, "b", 0.6, 0.7)
        add_runs(ran, "a", 0.99)
        found = ran.select()
        assert (found.study.study_name, found.trial.number, found.finalists, found.pending) == ("made", 1, [], True)

    def test_if_all_diverged_it_is_the_best_trial(self, ran):
        add_runs(ran, "b", None, None)
        add_runs(ran, "a", None, None)
        found = ran.select()
        assert (found.trial.number, found.finalists, found.pending) == (1, [], False)

    def test_runs_of_another_length_do_not_count(self, ran):
        add_runs(ran, "b", 0.6, 0.7, length={"epochs": 60})
        add_runs(ran, "a", 0.6, 0.7)
        assert ran.select().pending


@pytest.fixture
def train(before_finalists, problem, tmp_path, quick_latency):
    """(study, storage, definition) of a copy without finalists, and what trains them."""
    folder, definition = before_finalists
    shutil.copytree(folder, tmp_path / "copy")
    storage = open_storage(f"sqlite:///{tmp_path}/copy/s.db", create=False)
    study = load_study(storage, "tiny")

    def train(notify):
        with quiet_optuna():
            train_finalists(study, storage, definition, notify, replace(problem, definition=definition))

    return (study, storage, definition), train


class TestTrained:
    def test_each_on_two_new_seeds_by_the_trials_recipe_and_length(self, finals):
        study, storage, url, definition, _ = finals
        found = select(study, storage, definition)
        refined = load_study(storage, "tiny-refined")
        assert len(refined.trials) == 2 * len(found.finalists)
        for finalist in found.finalists:
            assert [run.user_attrs["seed"] for run in finalist.runs] == list(NEW_SEEDS)
            for run in finalist.runs:
                assert run.user_attrs["recipe"] == finalist.trial.user_attrs["recipe"]
                assert (run.user_attrs["refines"], run.user_attrs["length"]) == (finalist.trial.number, {"epochs": 1})
                assert run.value == run.user_attrs["metric"]
                assert "answers" in run.user_attrs
                description = read_description(artifact_folder(url) / run.user_attrs[NETWORK])
                assert description.origin == {"study": "tiny-refined", "trial": run.number}
        own = {trial.user_attrs["seed"] for trial in study.trials}
        assert not own & set(NEW_SEEDS)

    def test_known_recipe_is_trial_0_and_a_finalist(self, finals):
        study, storage, _, definition, _ = finals
        assert study.trials[0].user_attrs["known"] == "fold-at-once"
        assert study.trials[0].user_attrs["recipe"]["shape"] == "instant"
        assert [f.trial.number for f in finalists_of(study, storage, definition) if f.known] == [0]

    def test_are_told(self, finals):
        *_, events = finals
        (notice,) = [event.text for event in events if isinstance(event, Notice) and "finalists" in event.text]
        assert "(the known recipe)" in notice
        assert "trained again on 2 new seeds each, in this process; only these runs count" in notice
        ended = [event for event in events if isinstance(event, FinalistEnded)]
        assert [event.runs for event in events if isinstance(event, FinalistsStarted)] == [len(ended)]
        assert [(event.run, event.runs) for event in ended] == [(i + 1, len(ended)) for i in range(len(ended))]
        assert [event.seed for event in ended] == [*NEW_SEEDS] * (len(ended) // 2)
        assert all(event.examples == 288 for event in ended)
        after = events[events.index(ended[0]) :]
        assert {event.trial for event in after if isinstance(event, TrialReport)} <= {event.trial for event in ended}

    def test_a_second_run_trains_nothing(self, finals, monkeypatch):
        _, storage, url, definition, _ = finals
        monkeypatch.setattr(runs, "run_trial", lambda *args, **kwargs: pytest.fail("trained"))
        monkeypatch.setattr(finalists.Problem, "of", lambda definition: pytest.fail("data loaded"))
        before = len(load_study(storage, "tiny-refined").trials)
        run_study(definition, url, workers=1, notify=lambda event: None)
        assert len(load_study(storage, "tiny-refined").trials) == before

    def test_stopped_in_between_goes_on_there(self, train):
        of, train = train
        storage = of[1]

        def stop(event):
            if isinstance(event, TrialReport) and len(load_study(storage, "tiny-refined").trials) == 3:
                raise Interrupted

        with pytest.raises(Interrupted):
            train(stop)
        refined = load_study(storage, "tiny-refined")
        assert [trial.state.name for trial in refined.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
        assert select(*of).pending
        first = [trial.user_attrs for trial in refined.trials[:2]]
        train(lambda event: None)
        refined = load_study(storage, "tiny-refined")
        wanted = 2 * len(finalists_of(*of))
        assert [t.state.name for t in refined.trials] == ["COMPLETE", "COMPLETE", "FAIL", *["COMPLETE"] * (wanted - 2)]
        assert [trial.user_attrs for trial in refined.trials[:2]] == first
        assert not select(*of).pending

    def test_one_that_diverges_is_kept_with_a_note_and_ends_nothing(self, train, monkeypatch):
        of, train = train
        real, to_diverge = runs.run_trial, [NEW_SEEDS[1]]

        def sometimes(recipe, *args, seed, **kwargs):
            if seed in to_diverge:
                to_diverge.clear()
                raise Diverged("the training diverged: its loss is nan")
            return real(recipe, *args, seed=seed, **kwargs)

        monkeypatch.setattr(runs, "run_trial", sometimes)
        events = []
        train(events.append)
        (diverged,) = [t for t in load_study(of[1], "tiny-refined").trials if t.state == TrialState.PRUNED]
        assert diverged.user_attrs["note"] == "the training diverged: its loss is nan"
        assert None in [event.metric for event in events if isinstance(event, FinalistEnded)]
        assert not select(*of).pending
