"""What a trial minimises: cross-entropy, and the distance to the baseline's logits."""

import torch.nn.functional as F
from torch import Tensor

from ..space.recipe import Training


def classification_loss(logits: Tensor, labels: Tensor, teacher: Tensor | None, training: Training) -> Tensor:
    """(1 − w) cross-entropy + w distance to the teacher's logits.

    Args:
        logits: (N, classes).
        labels: (N,).
        teacher: (N, classes) of the baseline; needed where the weight w of the distillation is above 0.
        training: the recipe.
    """
    hard = F.cross_entropy(logits, labels, label_smoothing=training.label_smoothing)
    if teacher is None or training.distillation == 0:
        return hard
    distance = DISTANCES[training.distillation_loss](logits.float(), teacher.float(), training.temperature)
    return (1.0 - training.distillation) * hard + training.distillation * distance


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(softmax(teacher / T) ‖ softmax(logits / T)), the mean over examples (Hinton et al., 2015)."""
    student, target = F.log_softmax(logits / temperature, 1), F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(student, target, reduction="batchmean", log_target=True)


def squares(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Half the mean squared difference of the logits, each row about its mean: the limit of `divergence` for large T.

    For T → ∞ it becomes Σ (difference)² / (2 · classes) for zero-mean logits (Hinton et al., 2015).
    """
    difference = logits - teacher
    return 0.5 * (difference - difference.mean(1, keepdim=True)).square().mean()


DISTANCES = {"divergence": divergence, "squares": squares}
