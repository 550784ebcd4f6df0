"""Multi-label classification: any number of labels for each example."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...studies.metric import METRICS
from .task import PerExample, Task, shape_text

# An answer of so many labels at most is tried.
_MOST_LABELS = 8


class Multilabel(Task):
    """Binary cross-entropy on logits (N, labels) and targets (N, labels) of 0 and 1; the metric is the mean F1.

    The F1 of an example is 2 · hits / (labels it has + labels it is given), 1 where both are none.
    """

    metric = METRICS["multilabel"]

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy in nats, the mean over examples and labels."""
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def judge(self) -> PerExample:
        """The F1 of each example's labels, those of a positive logit."""
        return PerExample(f1)

    def constants(self, targets: Iterable[Tensor]) -> list[Callable[[Tensor], Tensor]]:
        """No label, the most frequent one, the two most frequent ones, and so on."""
        shares = torch.cat(list(targets)).double().mean(0)
        order = shares.argsort(descending=True)[:_MOST_LABELS]

        def first(count: int) -> Callable[[Tensor], Tensor]:
            logits = torch.full(shares.shape, -1.0)
            logits[order[:count]] = 1.0
            return lambda labels: logits.expand(len(labels), -1)

        return [first(count) for count in range(len(order) + 1)]

    def wrong_targets(self, targets: Any) -> str:
        """Targets other than 0 and 1."""
        if not isinstance(targets, Tensor) or targets.dim() != 2:
            return f"multilabel needs targets (N, labels) of 0 and 1, but a batch of targets is {shape_text(targets)}"
        wrong = targets[(targets != 0) & (targets != 1)]
        return f"multilabel needs targets of 0 and 1, but one is {float(wrong[0]):g}" if len(wrong) else ""

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Logits of another shape than the targets."""
        if not isinstance(outputs, Tensor) or outputs.shape != targets.shape:
            return f"gives {shape_text(outputs)} for targets {shape_text(targets)}"
        return ""


def f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N,) of 2 · hits / (labels + given labels)."""
    given, wanted = outputs > 0, targets > 0
    hits, count = (given & wanted).sum(1), given.sum(1) + wanted.sum(1)
    return (2 * hits / count.clamp(min=1)).masked_fill(count == 0, 1.0)
