"""What a trial minimises: the task's loss, and the distance to the baseline's outputs."""

from typing import Any

from torch import Tensor

from ..space.recipe import Training
from ..tasks.task import Task


def loss_of_recipe(outputs: Any, targets: Any, teacher: Any | None, training: Training, task: Task) -> Tensor:
    """(1 − w) loss of the task + w distance to the teacher's outputs.

    Args:
        outputs: of a batch.
        targets: of it.
        teacher: the baseline's outputs; needed where the weight w of the distillation is above 0.
        training: the recipe.
        task: whose loss and distance they are.
    """
    hard = task.loss(outputs, targets, label_smoothing=training.label_smoothing)
    if teacher is None or training.distillation == 0:
        return hard
    distance = task.distance(outputs, teacher, kind=training.distillation_loss, temperature=training.temperature)
    return (1.0 - training.distillation) * hard + training.distillation * distance
