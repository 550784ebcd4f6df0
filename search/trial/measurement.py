"""How good a network is: its metric on some batches, with each example's score, and its loss."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...models.cost import batch_size
from ...models.examples import moved, placed
from ...models.layers.modes import evaluating
from ...models.tracing.inputs import with_tensors
from ..tasks.task import Task
from ..training.arithmetic import PLAIN, Arithmetic


class Judgement(NamedTuple):
    """What a network's outputs are worth.

    Attributes:
        value: of the task's metric.
        scores: (N,) float64 of each example, in the batches' order; None where no single example has one.
    """

    value: float
    scores: Tensor | None

    @property
    def array(self) -> npt.NDArray[np.float64] | None:
        """The scores as NumPy has them."""
        return None if self.scores is None else self.scores.numpy()


def judged(network: nn.Module, batches: Iterable[tuple[Any, Any]], task: Task) -> Judgement:
    """A network's metric over some batches, in evaluation mode.

    Args:
        network: to be judged.
        batches: inputs with targets.
        task: whose metric it is.
    """
    device, judge = next(network.parameters()).device, task.judge()
    with evaluating(network):
        for inputs, targets in batches:
            wanted = moved(task.targets(inputs, targets), device)
            judge.add(network(*placed(inputs, network)), wanted)
    return Judgement(judge.value(), judge.scores())


def metric_of(network: nn.Module, batches: Iterable[tuple[Any, Any]], task: Task) -> float:
    """The value alone; arguments as for `judged`."""
    return judged(network, batches, task).value


def loss_of(
    network: nn.Module, batches: Iterable[tuple[Any, Any]], task: Task, arithmetic: Arithmetic = PLAIN
) -> float:
    """The mean of the task's loss over the examples; arguments as for `judged`.

    The network runs in `arithmetic`; the loss is taken of its outputs in float32 at least.
    """
    device = next(network.parameters()).device
    total, count = 0.0, 0
    with evaluating(network):
        for inputs, targets in batches:
            given = placed(inputs, network)
            wanted = moved(task.targets(inputs, targets), device)
            number = batch_size(given)
            with arithmetic.running(device):
                outputs = network(*given)
            total += float(task.loss(with_tensors(outputs, _in_full), wanted)) * number
            count += number
    return total / count


def _in_full(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype is torch.bfloat16 else outputs
