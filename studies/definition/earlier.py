"""Definitions that an earlier version stored, completed with what that version did where it had no key yet."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# Dotted key → what a study did whose stored definition has no such key. Only for keys whose default today is another
# value: where a new key's default is what was always done, as it should be, nothing is to be said here.
WHEN_ABSENT: dict[str, Any] = {"space.training.distillation": 0.0, "space.training.augment": True}


def completed(tables: dict[str, Any]) -> dict[str, Any]:
    """A stored definition or fingerprint with the keys that came later, where they mean another than today."""
    found = deepcopy(tables)
    for dotted, value in WHEN_ABSENT.items():
        *path, key = dotted.split(".")
        node = found
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(key, value)
    return found
