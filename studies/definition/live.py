"""A definition whose network, data or task are objects of the program that runs the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import StudyError
from .places import DATA_ROOT, placed, with_places
from .reading import Definition, check_name, load_definition, parse_definition

# What names of objects begin with, and `baseline.weights` of a network that is one.
GIVEN_PREFIX, GIVEN_WEIGHTS = "given:", "given"
_KEYS = {"network": ("model", "factory"), "data": ("data", "name"), "task": ("task", "name")}


def live_definition(source: Definition | Mapping[str, Any] | str | Path, given: Mapping[str, str]) -> Definition:
    """The definition of a study in which objects stand for its network, its data or its task.

    The weights that a network comes with are its baseline, unless the definition names a checkpoint; with
    `baseline.epochs` they are trained further.

    Args:
        source: a definition, its tables, the path of a TOML file, or a built-in study's name; what is given may be
            missing in tables.
        given: "network", "data" or "task" → the name that it was given.

    Raises:
        StudyError: if a key or value is not allowed; one line about the first mistake.
    """
    if isinstance(source, str | Path):
        source = load_definition(str(source), [f'{".".join(_KEYS[what])}="{name}"' for what, name in given.items()])
    if isinstance(source, Definition):
        tables = source.model_dump(mode="json", exclude_unset=True)
    elif isinstance(source, Mapping):
        tables = {key: dict(value) if isinstance(value, Mapping) else value for key, value in source.items()}
    else:
        raise StudyError(
            f"definition must be a Definition, a dict of its tables or the path of a TOML file, "
            f"but is {type(source).__name__}"
        )
    for what, name in given.items():
        table, key = _KEYS[what]
        kept = tables.get("data", {}) if table == "data" and isinstance(tables.get("data"), dict) else {}
        tables[table] = {**kept, key: name}
    baseline = tables.get("baseline", {})
    if "network" in given and isinstance(baseline, dict) and baseline.get("checkpoint") is None:
        tables["baseline"] = {"weights": GIVEN_WEIGHTS, **baseline}
    tables = with_places(tables, Path.cwd())
    if isinstance(data := tables.get("data"), dict):
        data.setdefault("root", placed(("data", "root"), DATA_ROOT, Path.cwd()))
    tables.setdefault("search", {})
    definition = parse_definition(tables)
    check_name(definition)
    return definition


def given_names(definition: Definition) -> dict[str, str]:
    """Which of "network", "data" and "task" are objects, by the names that they were given."""
    names = {
        "network": definition.model.factory,
        "data": definition.data.name,
        "task": definition.task.name,
    }
    return {what: name for what, name in names.items() if name.startswith(GIVEN_PREFIX)}


def has_given_weights(definition: Definition) -> bool:
    """Whether the baseline begins with the weights that a network was given with."""
    return definition.baseline.weights == GIVEN_WEIGHTS and definition.model.factory.startswith(GIVEN_PREFIX)
