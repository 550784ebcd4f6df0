"""Classification: one class of several for each example."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...studies.metric import ACCURACY
from .distances import DISTANCES
from .task import PerExample, Task, shape_text


class Classification(Task):
    """Cross-entropy on logits (N, classes) and labels (N,); the metric is the share of examples that are right.

    Args:
        num_classes: of the data; None if the data does not say.
    """

    metric = ACCURACY
    stratified = True
    smooths_labels = True

    def __init__(self, num_classes: int | None = None) -> None:
        self.num_classes = num_classes

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, the mean over the examples."""
        return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)

    def judge(self) -> PerExample:
        """Whether each example's highest logit is its label's."""
        return PerExample(right)

    def distance(self, outputs: Tensor, teacher: Tensor, *, kind: str, temperature: float) -> Tensor:
        """The divergence of the softened classes, or the squared error of the logits."""
        return DISTANCES[kind](outputs.float(), teacher.float(), temperature)

    def wrong_targets(self, targets: Any) -> str:
        """Labels that are no classes."""
        if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
            return f"classification needs one class number an example, but a batch of targets is {shape_text(targets)}"
        classes = self.num_classes or int(targets.max()) + 1
        wrong = targets[(targets < 0) | (targets >= classes)]
        if len(wrong):
            return f"classes are numbers from 0 to {classes - 1}, as many as the network has outputs, not {wrong[0]}"
        return ""

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Logits of another shape."""
        classes = self.num_classes
        if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[1] != (classes or outputs.shape[1]):
            return f"gives {shape_text(outputs)} for {len(targets)} examples of {classes or 'several'} classes"
        return ""

    def constants(self, targets: Iterable[Tensor]) -> list[Callable[[Tensor], Tensor]]:
        """The class of most examples."""
        counts = torch.cat(list(targets)).bincount()
        if (counts > 0).sum() < 2:
            return []
        return [lambda labels: F.one_hot(counts.argmax(), len(counts)).expand(len(labels), -1)]

    def classes(self, outputs: Tensor) -> set[int]:
        """The class of each example's highest logit."""
        return set(outputs.argmax(1).tolist())


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each example's highest logit is its label's: (N,) of bool."""
    return torch.eq(outputs.argmax(1), targets)
