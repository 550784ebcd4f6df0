"""What is read from an option's text."""

import pytest

from branchfold.search.console.options import as_arguments, as_shape


def test_arguments():
    assert as_arguments(("width=0.5", "num_classes=7", "name=x")) == {"width": 0.5, "num_classes": 7, "name": "x"}


@pytest.mark.parametrize(("text", "shape"), [("3x224x224", (3, 224, 224)), ("1,8,9", (1, 8, 9)), (None, None)])
def test_shape(text, shape):
    assert as_shape(text) == shape
