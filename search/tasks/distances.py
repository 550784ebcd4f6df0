"""How far outputs are from the baseline's: the distances of distillation."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(teacher / T) ‖ softmax(logits / T)), the mean over examples and places (Hinton et al., 2015).

    Args:
        logits: (N, classes, *).
        teacher: likewise.
        temperature: T.
    """
    student, target = F.log_softmax(logits / temperature, 1), F.log_softmax(teacher / temperature, 1)
    each = F.kl_div(student, target, reduction="none", log_target=True).sum(1)
    return temperature**2 * each.mean()


def centred_squares(logits: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of the logits, each row about its mean: the limit of `divergence` for large T.

    For T → ∞ it becomes Σ (difference)² / (2 · classes) for zero-mean logits (Hinton et al., 2015).
    """
    difference = logits - teacher
    return 0.5 * (difference - difference.mean(1, keepdim=True)).square().mean()


def squares(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference."""
    return 0.5 * (outputs - teacher).square().mean()


# Of classes, by their names: from logits, a teacher's logits and the temperature.
DISTANCES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "divergence": divergence,
    "squares": lambda logits, teacher, temperature: centred_squares(logits, teacher),
}
