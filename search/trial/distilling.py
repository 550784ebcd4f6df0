"""Whether a study's trials learn from its baseline's outputs too, and shift images, where that is left to a rule."""

from typing import Any

from ...studies.definition.deciding import with_training, without_rule
from ...studies.definition.dimensions import AUTO, Fixed, extremes
from ...studies.definition.reading import Definition
from ..data.augmentations import names_of
from ..data.data import Data
from ..training.teaching import is_known

# The weight of the baseline's outputs in the loss where the rule is for them.
WEIGHT = 0.5
# With fewer images, or from so many epochs of the baseline's compute on, it paid; docs/method.md has the numbers.
FEW_IMAGES = 10_000
LONG_ENOUGH = 1.0
# Trials of less compute were better on the images as they are, on both data sets (benchmarks/recipes-*.json).
SHORT = 0.5
# The augmentation of the data in place of which trials that are distilled by rule mirror images alone.
_SHIFTING, _MIRRORED = ("shift-flip",), "flip"


def settled(definition: Definition, data: Data, outputs: Any) -> Definition:
    """The definition with a weight of the distillation, and an augmentation of trials, where it says "auto".

    Trials are distilled by rule only where what the baseline says of their images is computed once for all of them:
    classes of images that come as they are or mirrored.

    Args:
        definition: of the study.
        data: its examples.
        outputs: of its network, for two examples.
    """
    training = definition.space.training
    augment, left = training.augment, training.augment == Fixed(AUTO)
    if left:
        augment = Fixed(_still(definition.data.augment))
    values = [definition.data.augment if value is True else value for value in extremes(augment)]
    known = all(is_known(outputs, data, value) for value in values)
    if training.distillation == Fixed(AUTO) and known and _worthwhile(definition, data):
        return with_training(definition, distillation=Fixed(WEIGHT), augment=augment)
    if (
        left
        and known
        and augment == Fixed(_MIRRORED)
        and definition.task.name == "classification"
        and _short(definition)
    ):
        definition = with_training(definition, augment=Fixed(False))
    return without_rule(definition)


def decided_line(given: Definition, found: Definition) -> str | None:
    """What is told of a study whose trials are distilled by rule, or see images as they are; None of all others.

    Args:
        given: its definition as it is written.
        found: as it was settled.
    """
    training = found.space.training
    if given.space.training.distillation != Fixed(AUTO) or training.distillation == Fixed(0.0):
        short = given.space.training.augment == Fixed(AUTO) and training.augment == Fixed(False)
        return "trials are short and train on images as they are (space.training.augment)" if short else None
    images = ", and their images are not shifted" if training.augment == Fixed(_MIRRORED) else ""
    return (
        f"trials learn from the baseline's outputs too, with weight {WEIGHT:g}{images} (space.training.distillation, "
        f"space.training.augment)"
    )


def _still(augment: Any) -> bool | str:
    """Augmentation of trials instead of the data's: mirroring alone where that shifts, else the data's own."""
    return _MIRRORED if names_of(augment) == _SHIFTING else True


def _worthwhile(definition: Definition, data: Data) -> bool:
    few = len(data.train) < FEW_IMAGES
    return definition.task.name == "classification" and (few or _compute(definition) >= LONG_ENOUGH)


def _short(definition: Definition) -> bool:
    return _compute(definition) < SHORT


def _compute(definition: Definition) -> float:
    """What a trial spends about, in epochs of the baseline's training: narrow networks pass for what they cost."""
    trial, share = definition.trial, definition.study.budget.macs
    if trial.compute is not None:
        return trial.compute
    assert trial.epochs is not None
    return trial.epochs * (1.0 if share is None else share)
