"""The second rung of a screening: which widths are trained for a few steps, and what becomes of that."""

import dataclasses
import math

import optuna
import pytest
import torch
import torch.nn.functional as F
from optuna.trial import FixedTrial

from branchfold.models.layers.copying import deep_copy
from branchfold.models.layers.statistics import recompute_batch_norm
from branchfold.search.events import Notice
from branchfold.search.run import sprint
from branchfold.search.run.screening import WIDTHS
from branchfold.search.run.sprint import between, ranked_by_sprints, runners, sprinted, steps_of, training_of
from branchfold.search.run.worker import Worker
from branchfold.search.space import SearchSpace
from branchfold.search.space.known import uniform_shares
from branchfold.search.space.recipe import Training
from branchfold.search.training.rates import course
from branchfold.search.trial.untrained import Untrained
from branchfold.studies.database.storage import load_study, open_storage

NAMES = ("features.0", "features.3", "features.7", "features.10", "features.14", "features.17")
SCREENED = {"screening": {"candidates": 4, "start": 2}, "search": {"recipes": ["fold-at-once"]}}


@pytest.fixture
def space(define, problem):
    return lambda **keep: SearchSpace(define(space__keep=keep), problem.costs, errors=dict)


def proposed(space, *values):
    """Widths of these shares, within the budget."""
    return space.widths(dict(zip(NAMES, values, strict=True)))


class TestRunners:
    def test_are_equal_shares_then_in_turn_the_best_and_what_lies_half_way(self, space):
        subject = space()
        ranked = [proposed(subject, *shares) for shares in ((1, 1, 1, 1, 0.2, 0.2), (0.2, 0.3, 0.4, 0.5, 0.9, 1))]
        equal = subject.propose_widths(FixedTrial(uniform_shares(subject)))
        found = runners(ranked, subject, 9)
        halves = [between(subject, equal, widths) for widths in ranked]
        assert found == [equal, ranked[0], halves[0], ranked[1], halves[1]]
        assert runners(ranked, subject, 2) == found[:2]
        assert runners([equal, *ranked], subject, 9) == found  # none twice

    def test_between_is_the_geometric_mean_within_the_budget(self, space, problem):
        subject = space()
        start, end = proposed(subject, 1, 1, 1, 1, 0.2, 0.2), proposed(subject, 0.2, 0.3, 0.4, 0.5, 0.9, 1)
        middle = between(subject, start, end)
        means = {name: math.sqrt(start[name] * end[name]) for name in NAMES}
        scale = math.exp(sum(math.log(middle[name] / means[name]) for name in NAMES) / len(NAMES))
        assert problem.costs.cost(middle).macs <= 0.25 * problem.costs.full.macs
        # The budget scales all alike; the rest is whole channels.
        assert all(abs(middle[name] - scale * means[name]) < 1.5 for name in NAMES)
        assert (between(subject, start, end, 0.0), between(subject, start, end, 1.0)) == (start, end)

    def test_with_shared_parameters_are_candidates_alone(self, space):
        subject = space(per="resolution")
        ranked = [proposed(subject, *shares) for shares in ((1, 1, 0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.4, 0.4, 1, 1))]
        assert runners(ranked, subject, 9) == ranked


class TestRanking:
    @pytest.fixture
    def rank(self, define, problem, monkeypatch):
        """Ranks three widths by losses that are given; what was trained is listed."""
        study = optuna.create_study()
        trained = []

        def run(losses, sprints=3):
            subject = dataclasses.replace(problem, definition=define(screening={"sprints": sprints}))
            space = SearchSpace(subject.definition, subject.costs, errors=dict)
            equal = space.propose_widths(FixedTrial(uniform_shares(space)))
            first = proposed(space, 1, 1, 1, 1, 0.2, 0.2)
            names = {tuple(widths.values()): name for widths, name in ((equal, "equal"), (first, "first"))}

            def name_of(widths):
                return names.get(tuple(widths.values()), "half-way")

            def loss(network, widths, *rest):
                trained.append(name_of(widths))
                return losses[name_of(widths)]

            monkeypatch.setattr(sprint, "_loss_after", loss)
            events, before = [], len(trained)
            found = ranked_by_sprints(study, [first], space, lambda widths: None, subject, events.append)
            return [name_of(widths) for widths in found], sorted(trained[before:]), events

        return run

    def test_the_least_loss_comes_first_and_what_diverged_last(self, rank):
        found, trained, (event,) = rank({"equal": 0.5, "first": None, "half-way": 0.4})
        assert found == ["half-way", "equal", "first"]
        assert trained == ["equal", "first", "half-way"]
        assert event.text.startswith("3 widths trained 5 steps each (0.")
        assert event.text.endswith(" epochs of compute): widths half-way to equal ones came out ahead")

    def test_what_is_recorded_is_not_trained_again(self, rank):
        losses = {"equal": 0.3, "first": 0.2, "half-way": 0.4}
        assert rank(losses, sprints=2)[:2] == (["first", "equal"], ["equal", "first"])
        assert rank(losses)[:2] == (["first", "equal", "half-way"], ["half-way"])
        assert rank(losses) == (["first", "equal", "half-way"], [], [])

    def test_none_are_wanted(self, rank):
        assert rank({}, sprints=0) == ([], [], [])


def test_a_sprint_is_a_whole_short_training(problem, baseline):
    """Beside a loop of torch's own: SGD with Nesterov momentum, the whole course of the rate in three steps."""
    training = Training(lr=0.05, augment=False)
    expected, steps = deep_copy(baseline).train(), 3
    optimizer = torch.optim.SGD(expected.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate = course("one-cycle", [])
    batches = problem.training_batches(32, seed=5, augment=False)
    for number, (images, labels) in zip(range(steps), batches, strict=False):
        optimizer.param_groups[0]["lr"] = 0.05 * rate(number / steps)
        optimizer.zero_grad()
        F.cross_entropy(expected(images), labels).backward()
        optimizer.step()
    recompute_batch_norm(expected, [(images,) for images, _ in problem.recalibration_batches])
    found = sprinted(deep_copy(baseline), problem, training, steps=steps, seed=5)
    assert not found.training
    (images, _), *_ = problem.validation_batches()
    assert torch.allclose(found(images), expected.eval()(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found(images), baseline(images), atol=1e-2)


def test_of_a_short_trial_a_sprint_is_no_more_than_a_quarter(define, problem):
    widths = dict(zip(NAMES, (4, 4, 8, 8, 16, 16), strict=True))

    def steps(**changes):
        return steps_of(widths, dataclasses.replace(problem, definition=define(**changes)))

    examples, share = len(problem.data.train), problem.costs.cost(widths).macs / problem.costs.full.macs
    assert steps() == round(2 * (examples // 32) / 4)
    assert steps(trial={"epochs": 100}) == 40
    assert steps(trial={"epochs": 100}, screening={"steps": 7}) == 7
    assert steps(trial={"epochs": None, "compute": 0.5}) == round(0.5 / (share * 32 / examples) / 4)


def test_trains_as_the_reference_recipe_where_the_space_has_room(define, problem):
    def found(**training):
        return training_of(SearchSpace(define(space__training=training), problem.costs, errors=dict))

    assert found().lr == 0.02
    assert found(lr={"low": 0.05, "high": 0.1}).lr == 0.05
    assert found(lr=0.3, weight_decay=0.01, augment=[True, False]) == Training(lr=0.3, weight_decay=0.01)


def test_a_study_begins_with_what_trained_best(define, problem, baseline, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    definition = define(**SCREENED)
    url, events = f"sqlite:///{tmp_path}/s.db", []
    subject = dataclasses.replace(problem, definition=definition)
    worker = Worker(subject, open_storage(url, create=True), events.append)
    worker.prepare(baseline)
    companion = load_study(open_storage(url, create=False), "tiny-screening")
    losses = [value for key, value in companion.user_attrs.items() if key.startswith("sprint-")]
    ranked = [dict(t.user_attrs[WIDTHS]) for t in sorted(companion.trials, key=lambda trial: trial.value)]
    space = SearchSpace(definition, problem.costs, errors=dict)
    assert len(losses) == len(runners(ranked, space, 8))
    (told,) = [event for event in events if isinstance(event, Notice)]
    assert told.text.startswith(f"{len(losses)} widths trained 5 steps each")
    # The reference at equal shares, then the known recipe at the widths of the least loss.
    prepared, trials = worker.study.user_attrs["prepared"], worker.study.trials
    best = space.widths(_shares(prepared["starts"][0]))
    again = sprint._loss_after(Untrained(baseline, subject).folded(best), best, training_of(space), subject)
    assert again == pytest.approx(min(losses), rel=1e-3)
    queued = [trial.system_attrs["fixed_params"] for trial in trials]
    assert trials[0].user_attrs == {"known": "fold-at-once"}
    assert prepared["starts"][0] in [{k: v for k, v in q.items() if k.startswith("keep")} for q in queued]


def _shares(values):
    return {name.removeprefix("keep."): value for name, value in values.items()}
