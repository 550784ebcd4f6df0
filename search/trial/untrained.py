"""Networks of many widths as they are before any training: what they share is computed once."""

from torch import nn

from ...models.layers.copying import deep_copy
from ..space import Recipe
from ..space.recipe import Training
from ..training.arithmetic import PLAIN
from ..training.device import training_device
from .problem import Problem
from .trial import delivered, initialised, looked_at


class Untrained:
    """The networks that a baseline begins as when its branches are folded at once.

    All share the baseline's activations on the calibration examples and what follows from them, in float32, as a
    trial's do. Folded they run in the study's arithmetic, where that was timed on the CPU, as they are then.

    Attributes:
        arithmetic: that the folded networks run in.

    Args:
        baseline: the trained network; it is not changed.
        problem: the study's.
    """

    def __init__(self, baseline: nn.Module, problem: Problem) -> None:
        timed_here = training_device(problem.definition.trial.device).type == "cpu"
        self.problem, self.arithmetic = problem, problem.arithmetic if timed_here else PLAIN
        self.baseline = self.arithmetic.arranged(deep_copy(baseline))
        self.known = looked_at(self.baseline, problem)

    def folded(self, widths: dict[str, int]) -> nn.Module:
        """The network with these widths, its BatchNorm statistics recomputed."""
        recipe = Recipe(shape="instant", parameters={}, fade=0.0, widths=widths, training=Training(lr=1.0))
        start = initialised(recipe, self.baseline, self.problem, self.known)
        return delivered(start, self.problem, self.arithmetic)
