"""Reconstruction: an auto-encoder gives its input again."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...studies.metric import METRICS
from .task import PerExample, Task, shape_text


class Reconstruction(Task):
    """Mean squared error between a network's output and its own input (N, C, *); the metric is the mean PSNR.

    Args:
        scale: (C,) by which each channel's input was divided, so that errors count in units of the pixels' range
            [0, 1]; one for inputs whose range is 1.
    """

    metric = METRICS["reconstruction"]

    def __init__(self, scale: tuple[float, ...] = (1.0,)) -> None:
        self.scale = scale

    def targets(self, inputs: Any, targets: Any) -> Any:
        """The inputs, whatever labels come with them."""
        return inputs

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Squared error, the mean over examples, channels and positions."""
        return F.mse_loss(outputs, targets)

    def judge(self) -> PerExample:
        """The peak signal-to-noise ratio of each example."""
        return PerExample(self._psnr)

    def constants(self, targets: Iterable[Any]) -> list[Callable[[Tensor], Tensor]]:
        """The mean of the inputs."""
        total, count = torch.zeros(()), 0
        for inputs in targets:
            if not isinstance(inputs, Tensor):
                return []
            total, count = total + inputs.sum(0), count + len(inputs)
        mean = total / count
        return [lambda inputs: mean.expand(len(inputs), *mean.shape)]

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Outputs of another shape than the inputs."""
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or outputs.shape != targets.shape:
            return (
                f"gives {shape_text(outputs)} for inputs {shape_text(targets)}, which reconstruction compares it with"
            )
        return ""

    def _psnr(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scale = torch.tensor(self.scale, device=outputs.device).view(1, -1, *[1] * (outputs.dim() - 2))
        return psnr((outputs - targets) * scale)


def psnr(difference: Tensor) -> Tensor:
    """(N,) of −10 log₁₀ of the mean squared difference (N, *), in dB, for signals whose range is 1; at most 100."""
    return -10 * difference.double().square().flatten(1).mean(1).clamp(min=1e-10).log10()
