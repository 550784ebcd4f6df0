"""What the baseline teaches in distillation, computed once for images that come as they are or mirrored."""

from typing import Any

import torch
from torch import Tensor, nn

from ...models.examples import placed
from ...models.layers.copying import deep_copy
from ...models.layers.modes import evaluating
from ..data.augmentations import STILL, names_of
from ..data.data import Augment, Data
from ..data.splits import ImageData
from .arithmetic import Arithmetic
from .compute import FORWARD_PASSES

_BATCH = 500
# More outputs are not worth their memory: the teacher runs beside the training then.
_LIMIT = 2**29  # bytes


def is_known(outputs: Any, data: Data, augment: Augment) -> bool:
    """Whether a trial's training images are those that a teacher's outputs can be kept of.

    Args:
        outputs: of the teacher, for two examples.
        data: of the study.
        augment: of the trial.
    """
    if not isinstance(data, ImageData) or not isinstance(outputs, Tensor) or outputs.dim() != 2:
        return False
    return set(names_of(augment)) <= set(STILL) and 2 * 4 * len(data.train) * outputs.shape[1] <= _LIMIT


def compute_of(data: ImageData) -> float:
    """What `known_outputs` costs, in epochs of the teacher's training: one or two forward passes for each image."""
    return (2 if data.train.flips else 1) / FORWARD_PASSES


def known_outputs(teacher: nn.Module, data: ImageData, arithmetic: Arithmetic, device: torch.device) -> Tensor:
    """A teacher's outputs for every training image as it is and mirrored, (N, 2, K) float32.

    Where mirroring would change what an image shows, none is mirrored, and both are the same.

    Args:
        teacher: in whatever mode; it is not changed.
        data: of the study.
        arithmetic: that it runs in.
        device: where it runs.
    """
    copy = arithmetic.arranged(deep_copy(teacher).to(device))
    found = []
    mixed = arithmetic.precision == "bfloat16"
    with evaluating(copy), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        for images, _ in data.batches(data.train, _BATCH):
            views = [images, images.flip(3)] if data.train.flips else [images]
            outputs = [copy(*placed(view, copy)).float().cpu() for view in views]
            found.append(torch.stack([outputs[0], outputs[-1]], 1))
    return torch.cat(found)
