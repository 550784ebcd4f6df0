"""Trials without what costs much and changes nothing of their results: proofs, timing, initialising again."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from branchfold.models.branches.folding.folding import fold
from branchfold.models.branches.network import BranchedNetwork
from branchfold.models.layers.copying import deep_copy
from branchfold.search.space import Recipe
from branchfold.search.trial import trial as trials
from branchfold.search.trial.latency import compare_latency
from branchfold.search.trial.problem import Problem


class Initialised:
    """The network that trials of one recipe begin with, which does not depend on their length or seed.

    Args:
        recipe: of the trials; fitted, not random.
        baseline: the trained network.
        problem: the study's.
    """

    def __init__(self, recipe: Recipe, baseline: nn.Module, problem: Problem) -> None:
        assert recipe.method == "least-squares", "random branches depend on the seed"
        self._network = trials.initialised(recipe, baseline, problem)

    def __call__(self, *arguments: Any) -> nn.Module:
        """A copy of it."""
        return deep_copy(self._network)


class _Unproved:
    """Folds as `FoldCheck` does, without comparing."""

    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.error = 0.0

    def __call__(self, branched: BranchedNetwork, groups: Collection[str]) -> nn.Module:
        branched.set_alpha(dict.fromkeys(groups, 0.0))
        return fold(branched, groups)


class _Silent:
    """Milestones that nobody hears of."""

    def __init__(self, *arguments: Any) -> None:
        self.reports: list[Any] = []

    def report(self, *arguments: Any) -> None:
        """Nothing."""

    def passed(self, module: nn.Module) -> None:
        """Nothing."""


@contextmanager
def cheaply() -> Iterator[None]:
    """Trials fold without proof, and the latency is measured once for all of them."""
    measured: list[Any] = []

    def once(*arguments: Any, **options: Any) -> Any:
        if not measured:
            measured.append(compare_latency(*arguments, **options))
        return measured[0]

    with patch.object(trials, "FoldCheck", _Unproved), patch.object(trials, "compare_latency", once):
        yield


@contextmanager
def beginning(start: Initialised, *, silent: bool) -> Iterator[None]:
    """Trials begin with this network; silent ones report nothing on their way."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(trials, "initialised", start))
        if silent:
            stack.enter_context(patch.object(trials, "_Milestones", _Silent))
        yield
