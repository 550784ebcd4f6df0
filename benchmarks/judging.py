"""The test split, for what is published; no search sees it."""

from functools import cache
from typing import Any

from torch import nn

from branchfold.search.data.batches import Batches
from branchfold.search.data.splits import load_test
from branchfold.search.trial.measurement import metric_of
from branchfold.search.trial.problem import Problem

_BATCH = 500


@cache
def _test_split(name: str, root: str) -> Any:
    return load_test(name, root)


def test_batches(problem: Problem) -> Batches:
    """The test split, normalised as the study's images are."""
    split = _test_split(problem.data.name, problem.definition.data.root)
    return Batches(split, _BATCH, mean=problem.data.mean, std=problem.data.std, shuffle=False, augment=False, seed=0)


def accuracy_on_test(network: nn.Module, problem: Problem) -> float:
    """The share of the test split's examples that a network has right."""
    return metric_of(network, test_batches(problem), problem.task)
