"""One line for a mistake in a study definition: the full key, the value, what is allowed, the nearest valid key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from ...errors import nearest
from .dimensions import UnknownKeyError, UnknownNameError

LONGEST_VALUE = 80


def explain(error: ValidationError, root: type[BaseModel]) -> tuple[str, str]:
    """The dotted key of the first mistake and one line about it; "(and N more)" if there are others.

    Args:
        error: What pydantic found.
        root: The model that was validated; its fields are the keys suggested.
    """
    details = error.errors(include_url=False)
    # A misspelt key explains a missing one, so it comes first.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    if first["loc"]:
        key = dotted(first["loc"])
        line = _describe(first, key, root)
    else:  # two tables contradict each other: the root's validators begin their text with the key
        line = str(first["ctx"]["error"])
        key = line.split()[0]
    return key, line if len(details) == 1 else f"{line} (and {len(details) - 1} more)"


def dotted(parts: Sequence[str | int]) -> str:
    """The key as a user writes it: `study.name`, or `objectives[1]` for an item of a list."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: Any) -> str:
    """The value as TOML or JSON would write it, cut to a readable length."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _describe(detail: Any, key: str, root: type[BaseModel]) -> str:
    loc, kind = detail["loc"], detail["type"]
    cause = detail.get("ctx", {}).get("error")
    if kind == "extra_forbidden" or (kind == "dict_type" and loc[:2] == ("space", "schedule")):
        return _unknown(loc, _keys(root, loc[:-1]))
    if isinstance(cause, UnknownKeyError):
        return _unknown((*loc, cause.key), cause.known)
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("model_type", "model_attributes_type"):
        return f"{key} must be a table, but got {shown(detail['input'])}"
    allowed = str(cause) if cause is not None else detail["msg"].replace("Input should be", "must be")
    hint = nearest(cause.value, cause.known) if isinstance(cause, UnknownNameError) else ""
    return f"{key} {allowed}, but got {shown(detail['input'])}{hint}"


def _unknown(loc: Sequence[str | int], known: Sequence[str]) -> str:
    parent = dotted(loc[:-1])
    choices = [f"{parent}.{name}" if parent else name for name in known]
    suggestion = nearest(dotted(loc), choices) if nearest(str(loc[-1]), known) else ""
    return f"unknown key {dotted(loc)}{suggestion or '; known here: ' + ', '.join(known)}"


def _keys(model: Any, loc: Sequence[str | int]) -> list[str]:
    """The keys of the table that stands at `loc`."""
    for part in loc:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
