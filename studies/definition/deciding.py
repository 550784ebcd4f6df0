"""What a definition leaves to a rule, "auto": decided when its study is made, and kept with that from then on."""

from __future__ import annotations

from .dimensions import AUTO, Dimension, Fixed
from .reading import Definition

# Keys of `[space.training]` that are decided when a study is made, and what they are where the rule is for nothing.
DECIDED: dict[str, Fixed] = {"distillation": Fixed(0.0), "augment": Fixed(True)}


def with_training(definition: Definition, **dimensions: Dimension) -> Definition:
    """The definition with other dimensions in `[space.training]`."""
    training = definition.space.training.model_copy(update=dimensions)
    space = definition.space.model_copy(update={"training": training})
    return definition.model_copy(update={"space": space})


def without_rule(definition: Definition) -> Definition:
    """The definition with what it leaves to a rule as it is where the rule is for nothing."""
    training = definition.space.training
    left = {key: value for key, value in DECIDED.items() if getattr(training, key) == Fixed(AUTO)}
    return with_training(definition, **left) if left else definition


def as_begun(definition: Definition, begun: Definition) -> Definition:
    """The definition with what it leaves to a rule as its study was begun with it.

    Args:
        definition: As it is read now.
        begun: As the study keeps it, be it of an earlier version, which had no such rule.
    """
    found = {}
    for key in DECIDED:
        then = getattr(begun.space.training, key)
        if getattr(definition.space.training, key) == Fixed(AUTO) and isinstance(then, Fixed):
            found[key] = then
    return with_training(definition, **found) if found else definition
