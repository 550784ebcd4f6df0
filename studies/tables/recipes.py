"""A trial's recipe in words, from the values that the database keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...names import BLENDINGS, CHOICES, INITIALISATIONS, ORDERS, RATES, SHAPES, WINDOWS

_PRECISIONS = {"auto": "in the precision that the study chose"}


def recipe_sentences(recipe: Mapping[str, Any], compute: float | None = None) -> list[str]:
    """What a trial did, a sentence each.

    Args:
        recipe: of the trial, in JSON types.
        compute: spent, in epochs of the baseline's training.
    """
    training, stages = recipe["training"], recipe["stages"]
    parameters = ", ".join(f"{name} {value:g}" for name, value in recipe["parameters"].items())
    words = [
        f"Branches: {_named(recipe['method'], INITIALISATIONS)}; channels: {_named(recipe['channels'], CHOICES)}.",
        f"Schedule: {_named(recipe['shape'], SHAPES)}{f' with {parameters}' if parameters else ''}; "
        f"every α is 0 after {100 * recipe['fade']:.0f} % of the trial.",
    ]
    if stages["count"] > 1:
        words.append(
            f"Stages: {stages['count']}, {_named(stages['order'], ORDERS)}; {_named(stages['windows'], WINDOWS)}."
        )
    words.append(f"Blending: {_named(recipe['blending'], BLENDINGS)}.")
    spent = "" if compute is None else f" for {compute:.2f} epochs of the full network's compute"
    weight = training["distillation"]
    distilled = f", distilled from it with weight {weight:g}" if weight else ""
    precision = _PRECISIONS.get(training["precision"], training["precision"])
    words.append(
        f"Training{spent}: learning rate {training['lr']:.3g}, {_named(training['rates'], RATES)}, "
        f"weight decay {training['weight_decay']:g}{distilled}, {precision}."
    )
    return words


def recipe_line(recipe: Mapping[str, Any]) -> str:
    """A recipe in one line: what distinguishes it, "linear over 40 % of the trial, 2 stages forward, lr 0.02"."""
    training, stages = recipe["training"], recipe["stages"]
    if recipe["shape"] == "instant":
        parts = ["folded at once"]
    else:
        parts = [f"{recipe['shape']} over {100 * recipe['fade']:.0f} % of the trial"]
        if stages["count"] > 1:
            parts.append(f"{stages['count']} stages by {stages['order']}")
        parts.append(f"{recipe['blending']} blending")
    if recipe["method"] != "least-squares":
        parts.append(f"{recipe['method']} branches")
    parts.append(f"learning rate {training['lr']:.2g}")
    if training["distillation"]:
        parts.append(f"distilled at {training['distillation']:.2g}")
    return ", ".join(parts)


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What two recipes have different, but their widths and the order of their groups: key, the one's, the other's."""
    flat_first, flat_second = _flat(first), _flat(second)
    keys = [key for key in {**flat_first, **flat_second} if not key.startswith(("widths", "stages.sequence"))]
    return [
        (key, flat_first.get(key, "-"), flat_second.get(key, "-"))
        for key in keys
        if flat_first.get(key) != flat_second.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return found


def _named(name: str, known: Mapping[str, str]) -> str:
    return f"{name} ({known[name]})" if name in known else name
