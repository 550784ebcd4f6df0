"""What is read from an option's text."""

import click
import pytest

from branchfold.search.console.options import WorkersType, as_arguments, as_shape


def test_arguments():
    assert as_arguments(("width=0.5", "num_classes=7", "name=x")) == {"width": 0.5, "num_classes": 7, "name": "x"}


@pytest.mark.parametrize(("text", "shape"), [("3x224x224", (3, 224, 224)), ("1,8,9", (1, 8, 9)), (None, None)])
def test_shape(text, shape):
    assert as_shape(text) == shape


@pytest.mark.parametrize(("text", "workers"), [("auto", None), ("1", 1), ("12", 12)])
def test_workers_are_a_number_or_auto(text, workers):
    assert WorkersType().convert(text, None, None) == workers


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_other_workers_are_refused(text):
    with pytest.raises(click.BadParameter, match=r"must be a number of at least 1, or auto"):
        WorkersType().convert(text, None, None)
