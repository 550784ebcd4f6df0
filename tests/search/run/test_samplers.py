"""Samplers and pruners by name, each in a small study of its own: a warning of Optuna's would fail the test."""

import sys

import optuna
import pytest
from optuna.trial import TrialState

from branchfold.errors import StudyError
from branchfold.search.run.samplers import UntrainedOrMedianPruner, make_pruner, make_sampler
from branchfold.search.space import SearchSpace
from branchfold.search.space.proposal import suggest
from branchfold.studies.definition.dimensions import parse_dimension

STEPS = {
    "space__schedule": {"shape": ["instant", "linear"], "fade": [0.25, 0.5]},
    "space__keep": {"per": "network", "range": {"low": 0.1, "high": 0.7, "step": 0.2}},
    "space__training": {"lr": [0.01, 0.1], "restarts": "none"},
    "space__blending": {"mode": ["convex", "probability"]},
    "space__stages": {"order": "forward"},
}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(before)


def proposals(definition, problem, trials, seed=0, directions=("maximize",)):
    """Proposes without training: a trial's value is its widths' cost, so that models have something to learn."""
    space = SearchSpace(definition, problem.costs, errors=dict)
    study = optuna.create_study(sampler=make_sampler(definition, space.dimensions(), seed), directions=directions)

    def objective(trial):
        recipe = space.propose(trial)
        cost = problem.costs.cost(recipe.widths).macs
        return (cost, recipe.training.lr)[: len(directions)] if len(directions) > 1 else cost

    study.optimize(objective, n_trials=trials)
    return study


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "random"])
@pytest.mark.parametrize("objectives", [["accuracy"], ["accuracy", "macs"]], ids=len)
def test_each_proposes_beyond_its_first_trials(define, problem, sampler, objectives):
    definition = define(
        search={"sampler": sampler, "startup_trials": 3}, study={"objectives": objectives, "budget": {}, "trials": 7}
    )
    directions = ["maximize", "minimize"][: len(objectives)]
    study = proposals(definition, problem, 7, directions=directions)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 7
    assert len({trial.params["training.lr"] for trial in study.trials}) > 3


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_they_follow_the_seed(define, problem, sampler):
    definition = define(search={"sampler": sampler}, **STEPS)
    first, again, other = (
        [t.params for t in proposals(definition, problem, 6, seed=seed).trials] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_cma_es_without_its_package_is_told_at_once(define, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(StudyError, match=r'search.sampler = "cma-es" needs a package.*cmaes.*pip install cmaes'):
        make_sampler(define(search={"sampler": "cma-es"}), {}, 0)


def test_cma_es_with_its_package(define, problem):
    pytest.importorskip("cmaes")
    study = proposals(define(search={"sampler": "cma-es", "startup_trials": 2}), problem, 5)
    assert len(study.trials) == 5


class TestGrid:
    def test_goes_through_every_combination_once(self, define, problem):
        definition = define(search={"sampler": "grid"}, study={"budget": {}}, **STEPS)
        # 2 shapes × 2 fades × 4 shares × 2 rates × 2 blendings: with `instant` neither fade nor blending counts.
        study = proposals(definition, problem, 64)
        assert len(study.trials) == 4 * 2 * (1 + 2 * 2)
        assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == len(study.trials)
        assert sorted({trial.params["keep"] for trial in study.trials}) == pytest.approx([0.1, 0.3, 0.5, 0.7])

    @pytest.mark.parametrize(("low", "high", "step", "count"), [(0.1, 0.7, 0.2, 4), (0.1, 0.8, 0.1, 8), (2, 8, 3, 3)])
    def test_values_lie_within_their_range(self, define, low, high, step, count):
        dimension = parse_dimension({"low": low, "high": high, "step": step})
        study = optuna.create_study(sampler=make_sampler(define(search={"sampler": "grid"}), {"x": dimension}, 0))
        study.optimize(lambda trial: suggest(trial, "x", dimension), n_trials=20)
        assert sorted(trial.params["x"] for trial in study.trials) == pytest.approx(
            [low + i * step for i in range(count)]
        )

    def test_a_range_without_steps_is_told(self, define, problem):
        space = SearchSpace(define(search={"sampler": "grid"}), problem.costs, errors=dict)
        with pytest.raises(StudyError, match=r'"grid" needs steps, but space\..* is a range without: give it a step'):
            make_sampler(space.definition, space.dimensions(), 0)

    def test_scores_of_groups_are_told(self, define, problem):
        definition = define(
            search={"sampler": "grid"}, **STEPS | {"space__stages": {"count": 2, "order": ["forward", "scores"]}}
        )
        space = SearchSpace(definition, problem.costs, errors=dict)
        with pytest.raises(StudyError, match=r'"grid" needs steps, but space\.stages\.score\.'):
            make_sampler(definition, space.dimensions(), 0)


class TestPruners:
    def test_names(self, define):
        names = {
            "median": "UntrainedOrMedianPruner",
            "hyperband": "HyperbandPruner",
            "wilcoxon": "WilcoxonPruner",
            "none": "NopPruner",
        }
        for pruner, name in names.items():
            assert type(make_pruner(define(search={"pruner": pruner}))).__name__ == name

    @pytest.mark.parametrize("pruner", ["median", "hyperband", "wilcoxon", "none"])
    def test_each_lets_good_trials_go_on_and_all_but_none_stop_bad_ones(self, define, pruner):
        definition = define(search={"pruner": pruner}, trial={"epochs": 9})
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(sampler=sampler, pruner=make_pruner(definition), direction="maximize")

        def objective(trial):
            quality = 0.9 if trial.number % 3 == 0 else 0.5 - 0.01 * trial.number
            for number in range(10):
                trial.report(quality + 0.01 * number, number)
                if number < 9 and trial.should_prune():
                    raise optuna.TrialPruned
            return quality + 0.09

        study.optimize(objective, n_trials=24)
        states = [trial.state for trial in study.trials]
        assert states[0] == TrialState.COMPLETE
        assert max(trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))) == 0.99
        assert (TrialState.PRUNED in states) == (pruner != "none")

    def test_a_study_runs_with_hyperband(self, study_run, quick_latency):
        study, _, _ = study_run(search={"pruner": "hyperband", "recipes": []}, study={"trials": 2})
        assert len(study.trials) == 2


class TestUntrainedOrMedian:
    """Ten trials of step 0 between 0.1 and 1, of step 5 likewise, then one more."""

    @pytest.mark.parametrize(
        ("reports", "ends"),
        [
            ({0: 0.27}, True),  # untrained, below half of the others' median of 0.55
            ({0: 0.28}, False),
            ({0: 0.4, 1: 0.4}, False),  # the median does not count yet
            ({0: 0.4, 5: 0.4}, True),
            ({0: 0.4, 5: 0.7}, False),
        ],
    )
    def test_ends(self, reports, ends):
        assert self.ended(reports, "least-squares") is ends

    def test_initialised_networks_are_compared_with_their_like(self):
        assert self.ended({0: 0.27}, "least-squares")
        assert not self.ended({0: 0.27}, "selection")
        assert not self.ended({0: 0.4, 1: 0.1}, "selection")
        assert self.ended({0: 0.4, 5: 0.4}, "selection")  # trained ones with all

    @staticmethod
    def ended(reports, method):
        study = optuna.create_study(direction="maximize", pruner=UntrainedOrMedianPruner(warm_up=3))
        methods = ["least-squares", "selection"]
        for i in range(1, 11):
            study.enqueue_trial({"initialisation.method": methods[0]})
            trial = study.ask()
            trial.suggest_categorical("initialisation.method", methods)
            for step in (0, 1, 5):
                trial.report(i / 10, step)
            study.tell(trial, i / 10)
        study.enqueue_trial({"initialisation.method": method})
        trial = study.ask()
        trial.suggest_categorical("initialisation.method", methods)
        for step, value in reports.items():
            trial.report(value, step)
        return bool(trial.should_prune())
