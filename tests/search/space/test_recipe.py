import json

import optuna
import pytest
from pydantic import ValidationError

from branchfold.search.schedules import SHAPES, Window, make_schedule
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.space.recipe import Stages, Training


def recipe(shape="knee", **changes):
    return Recipe(
        shape=shape,
        parameters=make_schedule(shape).parameters,
        fade=0.6,
        widths={"a": 3, "b": 8},
        training=Training(lr=0.05),
        **changes,
    )


FULL = recipe(
    stages=Stages(count=2, order="cost", sequence=("b", "a"), overlap=0.25, windows="own", hold=0.5),
    method="kaiming",
    channels="l1",
    blending="uniform",
    zero_loss=0.1,
)


@pytest.mark.parametrize("given", [FULL, *map(recipe, SHAPES)], ids=lambda found: found.shape)
def test_comes_back_from_json_as_it_was(given):
    again = Recipe.from_dict(json.loads(json.dumps(given.to_dict())))
    assert again == given
    assert again.to_dict() == given.to_dict()
    assert {name: type(value) for name, value in again.parameters.items()} == {
        name: type(value) for name, value in given.parameters.items()
    }
    assert again.schedule()(0.3) == given.schedule()(0.3)
    assert isinstance(again.stages.sequence, tuple)


def test_every_proposal_of_a_wide_space_comes_back(define, problem):
    definition = define(
        space__schedule={"shape": list(SHAPES)},
        space__stages={"count": {"low": 1, "high": 4}, "windows": ["shared", "own"], "order": ["forward", "cost"]},
        space__training={"distillation": [0.0, 0.5], "clip": [0.0, 1.0], "augment": [True, "flip", "none"]},
    )
    space = SearchSpace(definition, problem.costs, errors=dict)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = space.propose(study.ask())
        assert Recipe.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert {*found.windows()} == {*found.stages.sequence}


@pytest.mark.parametrize("change", [{"widths": "all"}, {"fade": None}, {"training": {}}, {"stages": {"count": "two"}}])
def test_another_versions_recipe_is_refused(change):
    with pytest.raises(ValidationError):
        Recipe.from_dict({**FULL.to_dict(), **change})


def test_windows_are_those_of_its_stages():
    # Two stages overlap by a quarter and fill 0.6: L + 0.75 L = 0.6.
    length = 0.6 / 1.75
    windows = FULL.windows()
    assert windows["b"] == Window(0.0, pytest.approx(length))
    assert windows["a"] == Window(pytest.approx(0.75 * length), 0.6)
    assert recipe().windows() == {}
