"""Segmentation: a class for each pixel."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...studies.metric import METRICS
from .distances import DISTANCES
from .task import Accumulated, Task, shape_text


class Segmentation(Task):
    """Cross-entropy on logits (N, classes, H, W) and masks (N, H, W); the metric is the mean IoU over the classes.

    A network that gives a dict, as torchvision's do, is judged by its "out".

    Args:
        num_classes: of the masks.
        ignore_index: value of pixels that do not count.
    """

    metric = METRICS["segmentation"]

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def loss(self, outputs: Any, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy in nats, the mean over the pixels that count."""
        return F.cross_entropy(_out(outputs), targets.long(), ignore_index=self.ignore_index)

    def judge(self) -> Accumulated:
        """The intersection over union of each class over all pixels of all examples, the mean over the classes."""
        from torchmetrics.classification import MulticlassJaccardIndex  # a second's import

        metric = MulticlassJaccardIndex(self.num_classes, ignore_index=self.ignore_index, validate_args=False)
        return Accumulated(metric, lambda outputs, targets: (_out(outputs).argmax(1).cpu(), targets.long().cpu()))

    def distance(self, outputs: Any, teacher: Any, *, kind: str, temperature: float) -> Tensor:
        """As for classification, the mean over the pixels."""
        return DISTANCES[kind](_out(outputs).float(), _out(teacher).float(), temperature)

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Logits of another shape, masks with values that are no classes."""
        if not isinstance(targets, Tensor) or targets.dim() != 3 or targets.is_floating_point():
            return (
                f"segmentation needs masks (N, H, W) of whole numbers, but a batch of targets is {shape_text(targets)}"
            )
        logits = _out(outputs)
        wanted = (len(targets), self.num_classes, *targets.shape[1:])
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
            return f"gives {shape_text(logits)} for masks {shape_text(targets)} of {self.num_classes} classes"
        counted = targets[targets != self.ignore_index]
        if counted.numel() and (int(counted.min()) < 0 or int(counted.max()) >= self.num_classes):
            wrong = int(counted.min()) if int(counted.min()) < 0 else int(counted.max())
            return f"mask value {wrong} is none of the classes 0 … {self.num_classes - 1}, nor {self.ignore_index}"
        return ""


def _out(outputs: Any) -> Any:
    return outputs["out"] if isinstance(outputs, Mapping) and "out" in outputs else outputs
