"""The one line that an error is told in, whatever its message."""

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError, nearest, one_line, typed_line
from branchfold.models import add_branches
from branchfold.models.fitting.initialisations import INITIALISATIONS, Initialisation


class Mute(nn.Conv2d):
    """A layer that cannot be copied, and does not say why."""

    def __deepcopy__(self, memo):
        raise TypeError


def fail(*args):
    raise RuntimeError("\n \n")


@pytest.mark.parametrize(
    ("message", "first", "whole"),
    [
        ("one", "one", "one"),
        ("\n  one \t more \n\n two\n", "one more", "one more two"),
        ("", "ValueError", "ValueError"),
        (" \n\t", "ValueError", "ValueError"),
    ],
)
def test_one_line(message, first, whole):
    assert one_line(ValueError(message)) == first
    assert one_line(ValueError(message), whole=True) == whole


def test_with_its_type():
    assert typed_line(ValueError("a\nb")) == "ValueError: a"
    assert typed_line(ValueError("")) == "ValueError"


def test_the_nearest_word_or_none():
    assert nearest("cosin", ["linear", "cosine"]) == "; did you mean cosine?"
    assert nearest("xyz", ["linear", "cosine"]) == nearest("x", []) == ""


def test_errors_without_a_message_are_told_by_their_type(monkeypatch):
    network, examples = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)), torch.zeros(2, 3, 8, 8)
    with pytest.raises(NetworkError, match=r"Sequential cannot be copied: TypeError$"):
        add_branches(nn.Sequential(Mute(3, 4, 3), *network[1:]), examples, keep=0.5)
    monkeypatch.setitem(INITIALISATIONS, "selection", Initialisation(fail, "l1"))
    with pytest.raises(NetworkError, match=r"does not accept data of shape \(2, 3, 8, 8\): RuntimeError$"):
        add_branches(network, examples, keep=0.5, init="selection")
