import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from branchfold.models.cost import CostModel
from branchfold.models.networks.factories import build_network
from branchfold.search.space import SearchSpace
from branchfold.studies.definition.dimensions import Range


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def ask(count=1, seed=0, values=None):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        if values:
            study.enqueue_trial(values)
        yield study.ask()


def not_asked():
    raise AssertionError("sensitivity was measured without need")


@pytest.fixture
def space_of(define, problem):
    def make(costs=problem.costs, errors=not_asked, shares=None, **changes):
        return SearchSpace(define(**changes), costs, errors, shares)

    return make


def propose(space, **rest):
    (trial,) = ask(**rest)
    return space.propose(trial), trial


def test_fixed_values_are_not_proposed_and_the_rest_has_its_distribution(space_of):
    space = space_of(
        space__schedule={"shape": ["linear"], "fade": 0.5},
        space__training={
            "lr": {"low": 0.001, "high": 0.1, "log": True},
            "weight_decay": [0.0, 5e-4],
            "train_original": True,
            "restarts": "none",
        },
        space__blending={"mode": "convex"},
        space__keep={"per": "network", "range": {"low": 0.2, "high": 0.8, "step": 0.1}},
        space__initialisation={"method": ["least-squares", "kaiming"]},
    )
    recipe, trial = propose(space)
    assert trial.distributions == {
        "schedule.shape": CategoricalDistribution(("linear",)),
        "keep": FloatDistribution(0.2, 0.8, step=0.1),
        "initialisation.method": CategoricalDistribution(("least-squares", "kaiming")),
        "training.lr": FloatDistribution(0.001, 0.1, log=True),
        "training.weight_decay": CategoricalDistribution((0.0, 5e-4)),
    }
    assert (recipe.fade, recipe.training.train_original, recipe.shape) == (0.5, True, "linear")
    assert recipe.training.lr == trial.params["training.lr"]
    assert recipe.method == trial.params["initialisation.method"]
    assert recipe.to_dict()["training"]["weight_decay"] == trial.params["training.weight_decay"]


def test_only_the_chosen_shapes_parameters_are_proposed(space_of):
    space = space_of(
        space__schedule={
            "shape": ["step", "knee", "exponential", "instant", "sigmoid"],
            "knee": {"threshold": [0.1, 0.3]},
            "step": {"steps": {"low": 3, "high": 6, "log": True}},
        }
    )
    own = {
        "step": {"schedule.step.steps"},
        "knee": {"schedule.knee.threshold", "schedule.knee.position"},
        "exponential": {"schedule.exponential.rate"},
        "sigmoid": {"schedule.sigmoid.steepness", "schedule.sigmoid.centre"},
        "instant": set(),
    }
    seen = set()
    for trial in ask(count=40):
        recipe = space.propose(trial)
        seen.add(recipe.shape)
        schedule = {name for name in trial.params if name.startswith("schedule.")} - {"schedule.shape"}
        fade = set() if recipe.shape == "instant" else {"schedule.fade"}
        assert schedule == own[recipe.shape] | fade
        assert {f"schedule.{recipe.shape}.{name}" for name in recipe.parameters} == own[recipe.shape]
        if recipe.shape == "step":
            assert trial.distributions["schedule.step.steps"] == IntDistribution(3, 6, log=True)
        if recipe.shape == "exponential":
            assert trial.distributions["schedule.exponential.rate"].log
        if recipe.shape == "instant":
            assert recipe.fade == 0.0
            assert recipe.schedule()(0.0) == 0.0
        # What counts only while the original is heard is proposed only there.
        fading = {"blending.mode", "training.restarts"} & trial.params.keys()
        assert fading == (set() if recipe.shape == "instant" else {"blending.mode", "training.restarts"})
        assert recipe.schedule()(1.0) == 0.0
        assert trial.params.keys() <= space.dimensions().keys()
    assert seen == set(own)


def test_a_shape_alone_has_its_defaults_over_half_of_the_trial(define, problem):
    definition = define(space={"schedule": "sigmoid"})
    recipe, trial = propose(SearchSpace(definition, problem.costs, not_asked))
    assert (recipe.shape, recipe.fade) == ("sigmoid", 0.5)
    assert recipe.parameters == {"steepness": 10.0, "centre": 0.5}
    assert not [name for name in trial.params if name.startswith("schedule")]


class TestKeep:
    def costs(self):
        return CostModel(build_network("resnet20", {"width": 0.5}), torch.zeros(1, 3, 32, 32))

    @pytest.mark.parametrize(("per", "count"), [("network", 1), ("resolution", 3), ("layer", 12)])
    def test_one_parameter_for_each_network_resolution_or_layer(self, space_of, per, count):
        costs = self.costs()
        recipe, trial = propose(space_of(costs, study={"budget": {}}, space__keep={"per": per}))
        keeps = {name: value for name, value in trial.params.items() if name.split(".")[0] == "keep"}
        assert len(keeps) == count
        for group in costs.groups:
            if group.prunable:
                resolution = "x".join(map(str, group.resolution))
                name = {"network": "keep", "resolution": f"keep.{resolution}", "layer": f"keep.{group.name}"}[per]
                assert recipe.widths[group.name] == max(1, round(keeps[name] * group.width))
        assert len(recipe.widths) == 12

    @pytest.mark.parametrize("per", ["network", "resolution", "layer"])
    def test_budget_is_met_by_every_proposal(self, space_of, per):
        costs = self.costs()
        space = space_of(costs, study={"budget": {"macs": 0.3}}, space__keep={"per": per})
        for trial in ask(count=10):
            assert 0.297 <= costs.cost(space.propose(trial).widths).macs / costs.full.macs <= 0.3

    def test_a_share_alone_is_that_share_everywhere(self, define, problem):
        definition = define(space={"keep": 0.5}, study={"budget": {}})
        recipe, trial = propose(SearchSpace(definition, problem.costs, not_asked))
        full = {group.name: group.width for group in problem.costs.groups if group.prunable}
        assert recipe.widths == {name: round(width / 2) for name, width in full.items()}
        assert not [name for name in trial.params if name.startswith("keep")]
        assert not SearchSpace(definition, problem.costs, not_asked).searches_widths

    def test_bounded_layers_have_their_own_range_and_frozen_ones_none(self, space_of, problem):
        layers = {"features.0": [0.5, 0.75], "features.3": 1.0, "features.7": [0.25, 0.25]}
        space = space_of(study={"budget": {}}, space__keep={"layers": layers})
        for trial in ask(count=5):
            widths = space.propose(trial).widths
            assert trial.distributions["keep.features.0"] == FloatDistribution(0.5, 0.75)
            assert not {"keep.features.3", "keep.features.7"} & trial.params.keys()
            assert 4 <= widths["features.0"] <= 6
            assert (widths["features.3"], widths["features.7"]) == (8, 4)
        met = space_of(study={"budget": {"macs": 0.5}}, space__keep={"per": "network", "layers": layers})
        widths = propose(met)[0].widths
        assert 4 <= widths["features.0"] <= 6
        assert (widths["features.3"], widths["features.7"]) == (8, 4)
        assert problem.costs.cost(widths).macs <= 0.5 * problem.costs.full.macs

    def test_multiples(self, space_of):
        space = space_of(study={"budget": {"macs": 0.5}}, space__keep={"multiple": 4})
        for trial in ask(count=5):
            assert all(width % 4 == 0 for width in space.propose(trial).widths.values())


class TestSensitivity:
    """Error curves written by hand: the first group is redundant, the last one is not."""

    def errors(self, space):
        names = list(space.full)
        curves = {name: [1 - k / full for k in range(full + 1)] for name, full in space.full.items()}
        curves[names[0]] = [1.0, 0.5, *[0.01] * (space.full[names[0]] - 1)]
        return curves

    def proposed(self, space_of, threshold, strength, tilt, budget=None):
        fixed = {"per": "sensitivity", "threshold": threshold, "strength": strength, "tilt": tilt}
        space = space_of(study={"budget": budget or {}}, space__keep=fixed)
        space.errors = lambda: self.errors(space)
        return space, propose(space)[0].widths

    def test_shares_are_those_where_the_error_is_the_threshold(self, space_of):
        space, widths = self.proposed(space_of, 0.25, 1.0, 0.0)
        first, *others = space.full
        assert widths[first] == 2
        for name in others:  # 1 − k/C ≤ 1/4 from k = 3/4 C on
            assert widths[name] == 0.75 * space.full[name]

    def test_strength_is_a_power(self, space_of):
        space, widths = self.proposed(space_of, 0.25, 2.0, 0.0)
        first, *others = space.full
        assert widths[first] == max(1, round((2 / 8) ** 2 * 8))
        assert all(widths[name] == round(0.75**2 * space.full[name]) for name in others)
        space, widths = self.proposed(space_of, 0.25, 0.0, 0.0, {"macs": 0.3})
        shares = [widths[name] / full for name, full in space.full.items()]
        assert max(shares) - min(shares) < 0.2

    def test_tilt_favours_the_last_groups(self, space_of):
        space, widths = self.proposed(space_of, 0.5, 0.0, 1.0)
        # 2^(depth) from 2^(−1/2) to 2^(1/2), and the last one whole.
        names = list(space.full)
        expected = [2 ** (i / (len(names) - 1) - 1) for i in range(len(names))]
        assert [widths[name] for name in names] == [
            round(share * space.full[name]) for name, share in zip(names, expected, strict=True)
        ]

    def test_has_three_parameters_and_meets_the_budget(self, space_of, problem):
        space = space_of(space__keep={"per": "sensitivity"})
        space.errors = lambda: self.errors(space)
        for trial in ask(count=5):
            widths = space.propose(trial).widths
            keeps = {name for name in trial.params if name.startswith("keep")}
            assert keeps == {"keep.threshold", "keep.strength", "keep.tilt"}
            assert 0.24 < problem.costs.cost(widths).macs / problem.costs.full.macs <= 0.25


class TestStages:
    def proposed(self, space_of, errors=not_asked, values=None, **stages):
        space = space_of(errors=errors, study={"budget": {"macs": 0.5}}, space__stages=stages)
        return (space, *propose(space, values={"schedule.shape": "linear", **(values or {})}))

    def test_one_stage_proposes_nothing(self, space_of):
        space, recipe, trial = self.proposed(space_of)
        assert not [name for name in trial.params if name.startswith("stages")]
        assert recipe.stages.sequence == tuple(n for n, w in recipe.widths.items() if w < space.full[n])

    def test_orders(self, space_of, problem):
        names = [group.name for group in problem.costs.groups if group.prunable]
        found = {}
        for order in ("forward", "backward", "cost", "sensitivity"):
            # An error that falls with the width, larger for some groups than for others.
            scale = dict(zip(names, [3, 1, 6, 2, 5, 4], strict=True))
            groups = [group for group in problem.costs.groups if group.prunable]
            errors = {g.name: [scale[g.name] - k * 1e-6 for k in range(g.width + 1)] for g in groups}
            _, recipe, _ = self.proposed(space_of, errors=errors.copy, count=2, order=order)
            found[order] = list(recipe.stages.sequence)
            assert recipe.stages.order == order
            whole = problem.costs.full.macs
            saved = {n: whole - problem.costs.cost({n: recipe.widths[n]}).macs for n in found[order]}
            narrow = [name for name in names if name in found[order]]
            expected = {
                "forward": narrow,
                "backward": narrow[::-1],
                "cost": sorted(narrow, key=saved.__getitem__, reverse=True),
                "sensitivity": sorted(narrow, key=scale.__getitem__),
            }[order]
            assert found[order] == expected

    def test_scores_search_a_number_for_each_group(self, space_of):
        space, recipe, trial = self.proposed(space_of, count=3, order="scores")
        scores = {name: trial.params[f"stages.score.{name}"] for name in space.full}
        narrow = [name for name in space.full if recipe.widths[name] < space.full[name]]
        assert list(recipe.stages.sequence) == sorted(narrow, key=scores.__getitem__, reverse=True)

    def test_instant_has_none_but_may_hold(self, space_of):
        hold = {"low": 0.0, "high": 1.0}
        _, recipe, trial = self.proposed(
            space_of, values={"schedule.shape": "instant"}, count={"low": 2, "high": 4}, hold=hold
        )
        assert {name for name in trial.params if name.startswith("stages")} == {"stages.hold"}
        assert recipe.stages.count == 1
        assert recipe.stages.hold == trial.params["stages.hold"]
        assert {(w.start, w.end) for w in recipe.windows().values()} == {(0.0, 0.0)}

    def test_more_stages_than_groups(self, space_of):
        _, recipe, _ = self.proposed(space_of, count=50, order="forward")
        assert len({*recipe.windows().values()}) == len(recipe.stages.sequence)

    def test_own_windows_in_one_stage_are_ordered(self, space_of):
        _, recipe, _ = self.proposed(space_of, count=1, windows="own", order="backward")
        starts = [recipe.windows()[name].start for name in recipe.stages.sequence]
        assert starts == sorted({*starts})
        assert recipe.stages.order == "backward"


class TestTraining:
    def test_what_distillation_needs_is_proposed_with_it_alone(self, space_of):
        searched = {"temperature": {"low": 1.0, "high": 4.0}, "distillation_loss": ["divergence", "squares"]}
        _, trial = propose(space_of(space__training=searched))
        assert not {"training.temperature", "training.distillation_loss"} & trial.params.keys()
        recipe, trial = propose(space_of(space__training={**searched, "distillation": [0.5, 0.9]}))
        assert {"training.temperature", "training.distillation_loss"} <= trial.params.keys()
        assert recipe.training.temperature == trial.params["training.temperature"]

    def test_every_key_reaches_the_recipe(self, space_of):
        values = {
            "lr": 0.03,
            "rates": "cosine",
            "restarts": "alpha",
            "weight_decay": 1e-3,
            "train_original": False,
            "distillation": 0.3,
            "distillation_loss": "squares",
            "temperature": 3.0,
            "label_smoothing": 0.1,
            "clip": 2.0,
            "precision": "bfloat16",
            "augment": False,
        }
        space = space_of(space__training=values, space__schedule={"shape": "linear"})
        assert propose(space)[0].to_dict()["training"] == values


def test_narrowed_shares_take_the_place_of_the_definitions(space_of):
    shares = {"keep.features.0": Range(0.3, 0.4), "keep.none": Range(0.1, 0.2)}
    space = space_of(shares=shares, study={"budget": {}})
    _, trial = propose(space)
    assert trial.distributions["keep.features.0"] == FloatDistribution(0.3, 0.4)
    assert trial.distributions["keep.features.3"] == FloatDistribution(0.1, 1.0)
    assert "keep.none" not in space.dimensions()
