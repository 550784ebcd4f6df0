"""Segmentation: a class for each pixel."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
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

    def constants(self, targets: Iterable[Tensor]) -> list[Callable[[Tensor], Tensor]]:
        """The class of most pixels, in most data the background."""
        each = [masks[masks != self.ignore_index].long().bincount(minlength=self.num_classes) for masks in targets]
        counts = torch.stack(each).sum(0)
        if (counts > 0).sum() < 2:
            return []
        logits_C = F.one_hot(counts.argmax(), self.num_classes)
        return [lambda masks: logits_C.view(1, -1, 1, 1).expand(len(masks), -1, *masks.shape[1:])]

    def wrong_targets(self, targets: Any) -> str:
        """Masks with values that are no classes."""
        if not isinstance(targets, Tensor) or targets.dim() != 3 or targets.is_floating_point():
            return (
                f"segmentation needs masks (N, H, W) of whole numbers, but a batch of targets is {shape_text(targets)}"
            )
        wrong = targets[(targets != self.ignore_index) & ((targets < 0) | (targets >= self.num_classes))]
        if len(wrong):
            return f"mask value {wrong[0]} is none of the classes 0 … {self.num_classes - 1}, nor {self.ignore_index}"
        return ""

    def misfit(self, outputs: Any, targets: Any) -> str:
        """Logits of another shape than the masks."""
        logits = _out(outputs)
        wanted = (len(targets), self.num_classes, *targets.shape[1:])
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
            return f"gives {shape_text(logits)} for masks {shape_text(targets)} of {self.num_classes} classes"
        return ""


def _out(outputs: Any) -> Any:
    """The logits among a network's outputs: "out", or the first of several, as an exported file gives them."""
    if isinstance(outputs, Mapping):
        return outputs.get("out")
    return outputs[0] if isinstance(outputs, tuple | list) else outputs
