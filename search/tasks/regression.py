"""Regression: numbers for each example."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...studies.metric import METRICS
from .task import PerExample, Task, shape_text


class Regression(Task):
    """Mean squared error on outputs and targets (N, *); the metric is the mean absolute error.

    Outputs (N, 1) are taken as (N,) where the targets are.
    """

    metric = METRICS["regression"]

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Squared error, the mean over examples and numbers."""
        return F.mse_loss(_like(outputs, targets), targets.to(outputs.dtype))

    def judge(self) -> PerExample:
        """The absolute error of each example, the mean over its numbers."""
        return PerExample(_absolute_errors)

    def constants(self, targets: Iterable[Tensor]) -> list[Callable[[Tensor], Tensor]]:
        """Each number's median, whose absolute error is the least."""
        middle = torch.cat(list(targets)).double().median(0).values
        return [lambda numbers: middle.expand(len(numbers), *middle.shape)]

    def wrong_targets(self, targets: Any) -> str:
        """Targets that are no tensor."""
        if not isinstance(targets, Tensor):
            return f"regression needs targets (N, *) of numbers, but a batch of targets is {shape_text(targets)}"
        return ""

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Outputs of another shape than the targets."""
        if not isinstance(outputs, Tensor) or _like(outputs, targets).shape != targets.shape:
            return f"gives {shape_text(outputs)} for targets {shape_text(targets)}"
        return ""


def _absolute_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (_like(outputs, targets) - targets).abs().reshape(len(targets), -1).mean(1)


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs (N, 1) as (N,) where the targets are."""
    return outputs[:, 0] if targets.dim() == 1 and outputs.dim() == 2 and outputs.shape[1] == 1 else outputs
