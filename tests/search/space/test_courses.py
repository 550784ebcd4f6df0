"""What others see of a recipe's α: its values at even distances."""

import pytest

from branchfold.search.space.courses import alphas_of
from branchfold.search.space.recipe import Recipe, Stages, Training


def recipe(shape, fade=0.5, **options):
    parameters = options.pop("parameters", {})
    stages = Stages(count=options.pop("count", 1), sequence=("a", "b"))
    return Recipe(
        shape=shape, parameters=parameters, fade=fade, widths={"a": 4, "b": 4}, training=Training(lr=0.1), stages=stages
    )


def test_a_line_falls_to_zero_when_it_should():
    assert alphas_of(recipe("linear"), 5) == pytest.approx((1, 0.5, 0, 0, 0))
    assert alphas_of(recipe("linear", count=2), 9) == pytest.approx((1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0))


def test_folded_at_once_is_zero():
    assert alphas_of(recipe("instant", fade=0.0), 3) == (0, 0, 0)


def test_a_plateau_is_not_foretold():
    assert alphas_of(recipe("plateau", parameters={"drop": 0.1, "patience": 2}), 3) == ()
