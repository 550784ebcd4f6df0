"""Recipes that begin as short trials: which of them go on, beside other processes and after kills."""

import random
from fractions import Fraction

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from branchfold.search.run import rungs as climbing
from branchfold.search.run.lowest_rung import LowestRungSampler
from branchfold.search.run.rungs import Ladder, Standing, due
from branchfold.search.run.stopping import trials_left
from branchfold.studies.database.optuna_internals import insert_trial_attr
from branchfold.studies.database.retries import release_interrupted
from branchfold.studies.database.rungs import FROM, PROMOTED, RUNG, finished_count, rung_of
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import Measurement, best_trial

# `ask` records no heartbeat and says so; `branchfold run` uses `optimize`, most of these tests do not.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")

HALVING = {"search": {"rungs": 3, "reduction_factor": 2}, "trial": {"epochs": 4}}


@pytest.fixture
def definition(define):
    return define(**HALVING)


@pytest.fixture
def study(tmp_path, definition):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=True), definition)


def beside(study, definition):
    """The same study as another process has it."""
    return load_study(open_storage(study._storage._backend.url, create=False), definition.study.name)


def run(study, ladder, value, *, share=0.2):
    """One trial, without training: of a queued one its rung's, else the lowest's."""
    trial = study.ask()
    rung = ladder.begin(trial)
    trial.suggest_float("x", 0.0, 1.0)
    for key, each in Measurement(value, 10, share, 5, 0.2, 1.0, 0.5)._asdict().items():
        trial.set_user_attr(key, each)
    study.tell(trial, *([value] if rung.is_whole else []), state=None if rung.is_whole else TrialState.PRUNED)
    return trial.number, rung


def waiting(study):
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def test_the_best_of_each_rung_go_on_as_a_search_by_hand_has_it():
    """Against asynchronous successive halving with the qualities of all rungs known beforehand."""
    for seed in range(30):
        draw = random.Random(seed)
        factor, count = draw.choice([2, 3, 4]), draw.choice([2, 3, 4])
        qualities = [[draw.choice([None, *range(12)]) for _ in range(count)] for _ in range(200)]
        # By the function: recipe → trials in each rung; numbers are given in order.
        places, numbers = [[] for _ in range(count)], {}
        sequence = []
        for step in range(120):
            standings = [
                [Standing(number, qualities[recipe][rung], recipe in places[rung + 1]) for number, recipe in placed]
                for rung, placed in enumerate(
                    [[(numbers[rung, r], r) for r in places[rung]] for rung in range(count - 1)]
                )
            ]
            number = due(standings, factor)
            if number is None:
                recipe, rung = len(places[0]), 0
            else:
                below, recipe = next(key for key, value in numbers.items() if value == number)
                rung = below + 1
            places[rung].append(recipe)
            numbers[rung, recipe] = step
            sequence.append((rung, recipe))
        # By hand: for every step the first rung from above where one of the best is not in the next one.
        done = []
        for rung, recipe in sequence:
            expected = None
            for k in range(count - 2, -1, -1):
                here = [r for where, r in done if where == k]
                ranked = [r for r in here if qualities[r][k] is not None]
                ranked.sort(key=lambda r: qualities[r][k], reverse=True)  # stable: the earlier one of equals
                best = [
                    r for place, r in enumerate(ranked, start=1) if Fraction(place, len(here)) <= Fraction(1, factor)
                ]
                if left := [r for r in best if (k + 1, r) not in done]:
                    expected = (k + 1, left[0])
                    break
            assert (rung, recipe) == (expected or (0, sum(where == 0 for where, _ in done)))
            done.append((rung, recipe))


def test_a_recipe_goes_on_with_its_parameters_up_to_a_whole_trial(study, definition):
    ladder = Ladder(study, definition)
    seen = []
    for value in (0.3, 0.6, 0.5, 0.7, 0.1, 0.6, 0.8, 0.9):
        ladder.promote()
        seen.append(run(study, ladder, value)[1].number)
    # The better of two goes on, and the third, which is better still; the better of both in the second rung becomes a
    # whole trial; of four in the first rung one of the best two has not gone on yet.
    assert seen == [1, 1, 2, 1, 2, 3, 1, 2]
    for trial in study.get_trials(deepcopy=False):
        if FROM in trial.user_attrs:
            source = study.get_trials(deepcopy=False)[trial.user_attrs[FROM]]
            assert trial.params == source.params
            assert rung_of(trial).number == rung_of(source).number + 1


def test_neither_the_diverged_nor_the_expensive_go_on(study, definition):
    ladder = Ladder(study, definition)
    run(study, ladder, 0.9, share=0.4)  # over the budget of 0.25
    trial = study.ask()
    ladder.begin(trial)
    study.tell(trial, state=TrialState.PRUNED)
    ladder.promote()
    assert waiting(study) == []
    number, _ = run(study, ladder, 0.1)
    ladder.promote()  # the best of three, as far as they are able
    assert [trial.user_attrs[FROM] for trial in waiting(study)] == [number]


def test_two_processes_queue_a_recipe_once(study, definition):
    ladder = Ladder(study, definition)
    for value in (0.1, 0.3, 0.2, 0.4):
        run(study, ladder, value)
    other = beside(study, definition)
    its = Ladder(other, definition)
    its._standings()  # both have read the trials before either queues one
    ladder.promote()
    its.promote()
    its.promote()
    ladder.promote()
    assert sorted(trial.user_attrs[FROM] for trial in waiting(study)) == [1, 3]


def test_what_a_killed_process_was_about_to_queue_is_queued_by_another(study, definition, monkeypatch):
    ladder, now = Ladder(study, definition), [100.0]
    monkeypatch.setattr(climbing.time, "monotonic", lambda: now[0])
    for value in (0.1, 0.3):
        run(study, ladder, value)
    insert_trial_attr(study, study.get_trials(deepcopy=False)[1], PROMOTED, True)
    ladder.promote()
    assert waiting(study) == []  # it may still be at it
    now[0] += 31
    ladder.promote()
    now[0] += 31
    ladder.promote()
    assert [trial.user_attrs[FROM] for trial in waiting(study)] == [1]


def test_an_interrupted_trial_keeps_its_rung(study, definition):
    ladder = Ladder(study, definition)
    for value in (0.1, 0.3):
        run(study, ladder, value)
    ladder.promote()
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    assert ladder.begin(trial).number == 2
    release_interrupted(study, trial.number)
    again = study.ask()
    assert ladder.begin(again).number == 2
    assert again.user_attrs[FROM] == 1
    ladder.promote()
    assert waiting(study) == []


def test_shorter_trials_count_by_their_length(study, definition):
    ladder = Ladder(study, definition)
    for _ in range(3):
        run(study, ladder, 0.5)
    assert (finished_count(study), trials_left(study, 2)) == (0, 2)
    run(study, ladder, 0.5)
    assert (finished_count(study), trials_left(study, 2)) == (1, 1)
    ladder.begin(study.ask())
    assert trials_left(study, 1) == 0


def test_samplers_see_the_lowest_rung_alone_and_its_values():
    seen = []

    class Looking(RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            seen.append([(t.number, t.state, t.values) for t in study.get_trials(deepcopy=False)])
            return 0.5

    study = optuna.create_study(direction="maximize", sampler=LowestRungSampler(Looking()))
    for number, state in ((1, TrialState.PRUNED), (2, TrialState.PRUNED), (3, TrialState.COMPLETE)):
        study.add_trial(
            optuna.create_trial(
                state=state,
                value=0.9 if state == TrialState.COMPLETE else None,
                params={"x": 0.1},
                distributions={"x": FloatDistribution(0, 1)},
                user_attrs={RUNG: {"number": number, "of": 3, "share": 3.0 ** (number - 3)}, "metric": number / 10},
            )
        )
    study.ask().suggest_float("x", 0, 1)
    assert seen == [[(0, TrialState.COMPLETE, [0.1])]]
    assert study.best_trial.number == 2
    assert study.get_trials()[0].state == TrialState.PRUNED


def test_a_study_with_rungs_delivers_a_whole_trial(study_run):
    study, _, _ = study_run(
        study={"trials": 2}, trial={"epochs": 2}, search={"rungs": 2, "reduction_factor": 2, "sampler": "random"}
    )
    trials = study.get_trials(deepcopy=False)
    assert finished_count(study) == 2
    short = [trial for trial in trials if not rung_of(trial).is_whole]
    whole = [trial for trial in trials if rung_of(trial).is_whole]
    assert [max(t.intermediate_values) for t in short] == [1] * len(short)
    assert [max(t.intermediate_values) for t in whole] == [2] * len(whole)
    assert all(trial.state == TrialState.PRUNED and "network" not in trial.user_attrs for trial in short)
    best = max(short[:2], key=lambda trial: (trial.user_attrs["metric"], -trial.number))
    assert (whole[0].user_attrs[FROM], whole[0].user_attrs["recipe"]) == (best.number, best.user_attrs["recipe"])
    assert study.best_trial in whole


def test_shorter_trials_are_never_the_best_however_good(study, definition):
    ladder = Ladder(study, definition)
    for value in (0.99, 0.98, 0.97, 0.6, 0.6, 0.5, 0.4, 0.3):
        ladder.promote()
        run(study, ladder, value)
    best = best_trial(study, definition)
    assert rung_of(best).is_whole
    assert best.number == study.best_trial.number


@pytest.mark.slow
def test_two_workers_run_no_recipe_twice_in_a_rung(study_run):
    study, _, _ = study_run(
        workers=2, study={"trials": 3}, trial={"epochs": 4}, search={"rungs": 3, "reduction_factor": 2}
    )
    trials = [t for t in study.get_trials(deepcopy=False) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    origins = [trial.user_attrs[FROM] for trial in trials if FROM in trial.user_attrs]
    assert 3 <= finished_count(study) <= 4
    assert origins
    assert len(set(origins)) == len(origins)
    begun = [(rung_of(trial).number, str(trial.params)) for trial in trials]
    assert len(set(begun)) == len(begun)
