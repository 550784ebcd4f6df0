"""Widths judged before any training, and what a study makes of them."""

import dataclasses
import io
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import torch
import torch.nn.functional as F
from optuna.trial import TrialState, create_trial
from rich.console import Console

from branchfold.models import add_branches, fold
from branchfold.search.console.shown.trials import trials_table, trials_values
from branchfold.search.events import Screened, ScreeningStarted
from branchfold.search.process.signals import Interrupted
from branchfold.search.run import screening
from branchfold.search.run import worker as runner
from branchfold.search.run.screening import WIDTHS, including, judge, screen, summary
from branchfold.search.space import SearchSpace
from branchfold.search.space.courses import course_of
from branchfold.search.trial.problem import Problem
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.definition.dimensions import Range, parse_dimension
from branchfold.studies.definition.reading import parse_definition
from branchfold.studies.tables.study import StudyView

CANDIDATES = {"screening": {"candidates": 6, "start": 2, "sprints": 0}, "search": {"recipes": ["fold-at-once"]}}


@pytest.fixture
def prepare(define, baseline, tmp_path):
    """Screens and queues, without training; (study, screening study, events, number of widths judged)."""
    judged = []
    real = screening.judge

    def run(**changes):
        definition = define(**{**CANDIDATES, **changes})
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
        events, before = [], len(judged)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(screening, "judge", lambda widths, *rest: judged.append(widths) or real(widths, *rest))
            worker = runner.Worker(Problem.of(definition), storage, events.append)
            worker.prepare(baseline)
        names = optuna.get_all_study_names(storage)
        companion = load_study(storage, "tiny-screening") if "tiny-screening" in names else None
        return worker.study, companion, events, judged[before:]

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return run


def test_a_candidates_loss_is_that_of_the_folded_network(problem, baseline):
    widths = {"features.0": 3, "features.3": 8, "features.7": 7, "features.10": 9, "features.14": 12, "features.17": 20}
    keep = {n: w / next(g.width for g in problem.costs.groups if g.name == n) for n, w in widths.items()}
    network = fold(add_branches(baseline, torch.zeros(2, 1, 8, 8), keep=keep, data=problem.calibration_batches))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for images, _ in problem.recalibration_batches:
            network(images)
        ((images, labels),) = list(problem.validation_batches())
        expected = F.cross_entropy(network.eval()(images), labels).item()
    assert judge(widths, baseline, problem) == pytest.approx(expected, rel=1e-5)


def test_candidates_are_a_study_beside_the_study_and_the_best_come_first(prepare):
    study, companion, events, judged = prepare()
    trials = companion.trials
    assert len(trials) == 6
    assert events[0] == ScreeningStarted(0, 6)
    assert [(event.candidate, event.candidates) for event in events[1:]] == [(i, 6) for i in range(1, 7)]
    assert [event.best for event in events if isinstance(event, Screened)][-1] == companion.best_value
    # Uniform widths are the first candidate; none is judged twice.
    assert {*trials[0].params.values()} == {0.55}
    assert len(judged) == len({tuple(sorted(trial.user_attrs[WIDTHS].items())) for trial in trials})
    queued = [trial.system_attrs["fixed_params"] for trial in study.trials]
    prepared = study.user_attrs["prepared"]
    assert [{k: v for k, v in values.items() if k.startswith("keep")} for values in queued] == prepared["starts"]
    assert len(queued) == 2  # the best start is the one at equal shares, queued once with the known recipe
    assert (queued[0]["schedule.shape"], queued[0]["training.lr"]) == ("instant", 0.02)
    assert list(queued[1]) == list(prepared["starts"][1])
    best = min(trials, key=lambda trial: trial.value)
    full = {"features.0": 8, "features.3": 8}
    for name, width in full.items():
        assert prepared["starts"][0][f"keep.{name}"] == best.user_attrs[WIDTHS][name] / width


def test_candidates_are_listed_with_the_best_first(prepare):
    _, companion, _, _ = prepare()
    rows = trials_values(StudyView(companion, course_of))
    assert [row["loss"] for row in rows] == sorted(trial.value for trial in companion.trials)
    assert rows[0]["number"] == companion.best_trial.number
    assert rows[0]["widths"] == companion.best_trial.user_attrs[WIDTHS]
    out = io.StringIO()
    Console(file=out, width=120).print(trials_table(StudyView(companion, course_of)))
    assert f"{companion.best_value:.4f}" in out.getvalue()


def test_is_done_once_for_a_study(prepare):
    first, companion, _, _ = prepare()
    again, companion, events, judged = prepare()
    assert len(again.trials) == len(first.trials) == 2
    assert len(companion.trials) == 6
    assert (events, judged) == ([], [])


def test_goes_on_where_it_was_stopped(define, problem, baseline, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    definition = define(**CANDIDATES)
    problem = dataclasses.replace(problem, definition=definition)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = open_study(storage, definition)
    space = SearchSpace(definition, problem.costs, errors=dict)

    def stop(event):
        if isinstance(event, Screened) and event.candidate == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen(problem, space, baseline, study, storage, stop)
    events = []
    found = screen(problem, space, baseline, study, storage, events.append)
    companion = load_study(storage, "tiny-screening")
    assert events[0] == ScreeningStarted(3, 6)
    assert [event.candidate for event in events[1:]] == [4, 5, 6]
    assert len(companion.trials) == 6
    assert len({tuple(trial.params.values()) for trial in companion.trials}) == 6
    assert len(found.starts) == 2


def test_an_interrupted_candidate_does_not_stay_running(define, problem, baseline, tmp_path, monkeypatch):
    def interrupted(*args):
        raise Interrupted

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    definition = define(**CANDIDATES)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    monkeypatch.setattr(screening, "judge", interrupted)
    worker = runner.Worker(dataclasses.replace(problem, definition=definition), storage, lambda event: None)
    with pytest.raises(Interrupted):
        worker.prepare(baseline)
    companion = load_study(storage, "tiny-screening")
    assert [trial.state for trial in companion.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_share_the_candidates(define, problem, baseline, tmp_path, monkeypatch, processes):
    """Each with its own connection; all begin at once, and the last candidate is wanted by all of them."""
    judged, ready = [], threading.Barrier(processes)

    def judge(widths, baseline, problem, untrained):
        judged.append(tuple(widths.items()))
        time.sleep(0.05)
        return float(sum(widths.values()))

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    monkeypatch.setattr(screening, "judge", judge)
    monkeypatch.setattr(screening, "_POLL", 0.05)
    definition = define(**{**CANDIDATES, "screening": {"candidates": 9, "start": 2, "sprints": 0}})
    url, events = f"sqlite:///{tmp_path}/s.db", [[] for _ in range(processes)]
    open_study(open_storage(url, create=True), definition)

    def run(number):
        storage = open_storage(url, create=False)
        subject = dataclasses.replace(problem, definition=definition)
        worker = runner.Worker(subject, storage, events[number].append)
        ready.wait()
        worker.prepare(baseline)
        return worker.study.user_attrs["prepared"]

    with ThreadPoolExecutor(processes) as pool:
        prepared = list(pool.map(run, range(processes)))
    storage = open_storage(url, create=False)
    complete = load_study(storage, "tiny-screening").get_trials(states=(TrialState.COMPLETE,))
    assert len(complete) == 9
    assert len(judged) == len(set(judged))
    assert all(found == prepared[0] for found in prepared)
    queued = [trial.system_attrs["fixed_params"] for trial in load_study(storage, "tiny").trials]
    assert len(queued) == 3  # the known recipe at equal shares, and both starts
    for told in events:  # every process tells of all candidates
        counts = [event.candidate for event in told if isinstance(event, Screened)]
        assert counts == sorted(set(counts))
        assert counts[-1] == 9


def test_trials_draw_from_the_narrowed_ranges(prepare, problem, baseline):
    study, _, _, _ = prepare()
    shares = study.user_attrs["prepared"]["shares"]
    starts = study.user_attrs["prepared"]["starts"]
    assert len(shares) == 6
    for name, table in shares.items():
        values = [start[name] for start in starts]
        room = 0.2 * max(values)
        assert table["low"] == pytest.approx(max(min(0.1, *values), min(values) - room))
        assert table["high"] == pytest.approx(min(1.0, max(values) + room))


@pytest.mark.parametrize("changes", [{"screening": {"candidates": 0}}, {"space__keep": {"range": 0.5}}], ids=str)
def test_nothing_to_screen(prepare, changes):
    study, companion, events, _ = prepare(**changes)
    assert companion is None
    assert events == []
    assert len(study.trials) == 1  # the known recipe
    assert study.user_attrs["prepared"] == {"shares": {}, "starts": []}


def test_known_recipes_that_the_space_has_room_for_come_first(prepare):
    study, _, _, _ = prepare(screening={"candidates": 0}, search={"recipes": ["report", "probability", "fold-at-once"]})
    queued = [trial.system_attrs["fixed_params"] for trial in study.trials]
    assert [values["schedule.shape"] for values in queued] == ["instant", "linear"]  # `step` is not in this space
    assert queued[1]["blending.mode"] == "probability"
    assert [trial.user_attrs for trial in study.trials] == [{"known": "fold-at-once"}, {}]


@pytest.fixture
def unequal(monkeypatch):
    """Screening finds that equal shares are the worst of all widths."""
    full = {"features.0": 8, "features.3": 8, "features.7": 16, "features.10": 16, "features.14": 32, "features.17": 32}

    def loss(widths, *rest):
        return -statistics.pstdev(width / full[name] for name, width in widths.items())

    monkeypatch.setattr(screening, "judge", loss)
    return full


class TestEqualShares:
    def test_known_recipe_is_tried_at_them_first_and_then_at_the_best_widths(self, unequal, prepare, problem):
        study, companion, _, _ = prepare()
        equal = companion.trials[0].user_attrs[WIDTHS]
        prepared = study.user_attrs["prepared"]
        first, second, third = (trial.system_attrs["fixed_params"] for trial in study.trials)
        shares = {f"keep.{name}": width / unequal[name] for name, width in equal.items()}
        assert {key: value for key, value in first.items() if key.startswith("keep")} == shares
        assert {**first, **prepared["starts"][0]} == second
        assert (first["schedule.shape"], third) == ("instant", prepared["starts"][1])
        assert [trial.user_attrs for trial in study.trials] == [{"known": "fold-at-once"}, {}, {}]
        # The narrowed ranges hold them: Optuna warns of a value that is out of its range.
        ranges = {name: parse_dimension(value) for name, value in prepared["shares"].items()}
        space = SearchSpace(parse_definition(study.user_attrs["definition"]), problem.costs, dict, ranges)
        asked = optuna.create_study()
        asked.enqueue_trial(first)
        assert space.propose(asked.ask()).widths == equal

    @pytest.mark.parametrize("per", ["network", "resolution"])
    def test_where_groups_share_a_parameter(self, unequal, prepare, problem, per):
        study, companion, _, _ = prepare(space__keep={"per": per})
        ranges = {name: parse_dimension(value) for name, value in study.user_attrs["prepared"]["shares"].items()}
        definition = parse_definition(study.user_attrs["definition"])
        asked = optuna.create_study()
        asked.enqueue_trial(study.trials[0].system_attrs["fixed_params"])
        widths = SearchSpace(definition, problem.costs, dict, ranges).propose(asked.ask()).widths
        assert widths == companion.trials[0].user_attrs[WIDTHS]

    def test_a_space_without_room_is_told_once(self, prepare):
        changes = {"space__schedule": {"shape": "linear"}, "screening": {"candidates": 0}}
        study, _, events, _ = prepare(**changes)
        assert study.trials == []
        assert [event.text for event in events] == [
            "this space has no room for the known recipe fold-at-once: no trial is compared with it"
        ]
        assert prepare(**changes)[2] == []

    def test_where_it_is_not_asked_for_nothing_is_told(self, prepare):
        study, _, events, _ = prepare(search={"recipes": []}, screening={"candidates": 0})
        assert (study.trials, events) == ([], [])

    def test_ranges_become_no_wider_than_needed(self):
        shares = {"a": Range(0.3, 0.5), "b": Range(0.3, 0.5), "c": Range(0.3, 0.5)}
        wider = including(shares, {"a": 0.2, "b": 0.4, "c": 0.6, "d": 1.0})
        assert wider == {"a": Range(0.2, 0.5), "b": Range(0.3, 0.5), "c": Range(0.3, 0.6)}


class TestSummary:
    @pytest.fixture
    def space(self, define, problem):
        return lambda **keep: SearchSpace(define(space__keep=keep), problem.costs, errors=dict)

    def trials(self, space, count=40):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(count):
            trial = study.ask()
            widths = space.propose_widths(trial)
            yield create_trial(
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={WIDTHS: widths},
                value=((number * 17) % count) / count,
            )

    @pytest.mark.parametrize("multiple", [1, 2])
    def test_the_starts_propose_the_widths_of_the_best_candidates(self, space, multiple):
        """Also at the budget, which scales shares: those of a network that meets it stay as they are."""
        subject = space(multiple=multiple)
        trials = list(self.trials(subject))
        found = summary(subject, trials, start=30, margin=0.0)
        ranked, widths = sorted(trials, key=lambda trial: trial.value), []
        for trial in ranked:
            if trial.user_attrs[WIDTHS] not in widths:
                widths.append(trial.user_attrs[WIDTHS])
        narrowed = SearchSpace(subject.definition, subject.costs, dict, found.shares)
        study = optuna.create_study()
        for start, expected in zip(found.starts, widths, strict=False):
            study.enqueue_trial(start)
            trial = study.ask()
            assert narrowed.propose_widths(trial) == expected
            assert trial.params == start

    def test_the_best_tenth_spans_the_ranges(self, space):
        subject = space(per="network")
        values = [0.1 + 0.9 * i / 39 for i in range(40)]
        trials = [
            create_trial(
                params={"keep": value},
                distributions={"keep": optuna.distributions.FloatDistribution(0.1, 1.0)},
                user_attrs={WIDTHS: {}},
                value=abs(value - 0.5),
            )
            for value in values
        ]
        best = sorted(values, key=lambda value: abs(value - 0.5))
        found = summary(subject, trials, start=2, margin=0.1)
        low, high = min(best[:4]), max(best[:4])
        assert found.shares == {"keep": Range(pytest.approx(low - 0.1 * high), pytest.approx(high + 0.1 * high))}
        assert found.starts == [{"keep": best[0]}, {"keep": best[1]}]
        more = summary(subject, trials, start=8, margin=0.0)
        assert (more.shares["keep"].low, more.shares["keep"].high) == (min(best[:8]), max(best[:8]))
        assert len(more.starts) == 8

    def test_ranges_do_not_leave_the_definitions(self, space):
        subject = space(per="network")
        trials = [
            create_trial(
                params={"keep": value},
                distributions={"keep": optuna.distributions.FloatDistribution(0.1, 1.0)},
                user_attrs={WIDTHS: {}},
                value=0.0,
            )
            for value in (0.12, 0.95)
        ]
        assert summary(subject, trials, start=2, margin=0.5).shares == {"keep": Range(0.1, 1.0)}

    def test_of_nothing(self, space):
        assert summary(space(), [], start=3, margin=0.2).starts == []
