import optuna
import pytest

from branchfold.search.schedules import SHAPES
from branchfold.search.space import SearchSpace
from branchfold.search.space.known import RECIPES, fits, known_recipes, uniform_shares
from branchfold.studies.definition.dimensions import Choices, Fixed, Range

ALL = ("fold-at-once", "taught", "probability", "report")
EVERYTHING = {
    "space__schedule": {"shape": list(SHAPES), "fade": {"low": 0.2, "high": 1.0}},
    "space__initialisation": {"method": ["least-squares", "kaiming"]},
    "space__training": {"augment": [True, False, "flip"], "distillation": [0.0, 0.5]},
}


@pytest.fixture
def space_of(define, problem):
    return lambda **changes: SearchSpace(define(**changes), problem.costs, errors=dict)


def proposed(space, values):
    """The recipe that a trial of these values is; Optuna warns of, and these tests fail for, one out of its range."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(values)
    trial = study.ask()
    recipe = space.propose(trial)
    assert values.items() <= trial.params.items(), "a value that the space does not propose"
    return recipe


def test_a_wide_space_has_them_as_they_are(space_of):
    space = space_of(**EVERYTHING)
    found = known_recipes(space, ALL)
    assert list(found) == list(ALL) == list(RECIPES)
    once, taught, probability, report = (proposed(space, found[name]) for name in ALL)
    assert (once.shape, once.method, once.training.lr) == ("instant", "least-squares", 0.02)
    assert (once.training.augment, once.training.distillation) == (False, 0.0)
    assert (taught.shape, taught.method, taught.training.lr) == ("instant", "least-squares", 0.05)
    assert (taught.training.augment, taught.training.distillation) == ("flip", 0.5)
    assert (probability.shape, probability.fade, probability.blending) == ("linear", 0.5, "probability")
    assert (report.shape, report.parameters, report.fade) == ("step", {"steps": 10}, 1.0)
    assert (report.blending, report.method, report.training.restarts) == ("convex", "kaiming", "none")
    assert once.widths == probability.widths == report.widths


def test_all_groups_keep_the_same_share(space_of, problem):
    full = {group.name: group.width for group in problem.costs.groups if group.prunable}
    for per in ("network", "resolution", "layer"):
        space = space_of(**EVERYTHING, space__keep={"per": per})
        widths = proposed(space, uniform_shares(space)).widths
        kept = [width / full[name] for name, width in widths.items()]
        assert len(kept) == len(full)
        assert max(kept) - min(kept) < 0.15


def test_bounds_of_single_groups_leave_the_others_alike(space_of):
    layers = {"features.0": [0.8, 1.0], "features.3": [0.2, 0.9]}
    shares = uniform_shares(space_of(space__keep={"layers": layers}))
    # The middle of 0.1 … 1.0, or the nearest that a group may have.
    assert shares.pop("keep.features.0") == 0.8
    assert len(shares) == 5
    assert list(shares.values()) == pytest.approx([0.55] * 5)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"space__schedule": {"shape": "linear"}}, ["probability"]),
        ({"space__schedule": {"shape": "linear"}, "space__blending": {"mode": "convex"}}, []),
        ({"space__schedule": {"shape": ["instant", "step"]}}, ["fold-at-once", "taught", "report"]),
        ({"space__schedule": {"shape": "cosine"}}, []),
    ],
)
def test_one_that_the_space_has_no_room_for_is_left_out(space_of, changes, names):
    assert list(known_recipes(space_of(**changes), ALL)) == names


def test_values_out_of_range_become_the_nearest_and_choices_that_are_missing_are_left_to_the_sampler(space_of):
    space = space_of(
        space__schedule={
            "shape": ["step"],
            "fade": {"low": 0.2, "high": 0.8},
            "step": {"steps": {"low": 2, "high": 6}},
        },
        space__training={"lr": {"low": 0.02, "high": 0.1, "step": 0.02}, "restarts": ["stages", "alpha"]},
    )
    (values,) = known_recipes(space, ALL).values()
    assert values["schedule.step.steps"] == 6
    assert values["schedule.fade"] == 0.8
    assert values["training.lr"] == 0.02
    assert "training.restarts" not in values
    assert "initialisation.method" not in values  # fixed
    proposed(space, values)


def test_only_those_asked_for(space_of):
    assert list(known_recipes(space_of(**EVERYTHING), ("report",))) == ["report"]
    assert known_recipes(space_of(**EVERYTHING), ()) == {}


def test_fits():
    assert fits(1, Fixed(1))
    assert not fits(2, Fixed(1))
    assert fits("a", Choices(("a", "b")))
    assert not fits("c", Choices(("a", "b")))
    assert fits(0.5, Range(0.5, 1.0))
    assert not fits(0.4, Range(0.5, 1.0))
