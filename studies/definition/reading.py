"""A study's definition: read from TOML, changed by `--set`, checked, and compared with another one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, model_validator

from ...errors import StudyError, nearest
from ..metric import METRICS
from .data_keys import DataTable
from .earlier import completed
from .keys import (
    COMPANIONS,
    BaselineTable,
    ModelTable,
    ScreeningTable,
    SearchTable,
    StudyTable,
    Table,
    TaskTable,
    TrialTable,
)
from .mistakes import explain, shown
from .places import DATA_ROOT, placed, with_places
from .spaces import Space

# The package of the built-in definitions.
_BUILTIN = f"{__package__.rpartition('.')[0]}.builtin"
# What may change between two runs of one study: none alters what a trial is.
FREE_KEYS = (("study", "trials"), ("data", "root"), ("data", "workers"), ("trial", "device"), ("search", "finalists"))
# A baseline is trained or read, a trial's length is in epochs or in compute.
ALTERNATIVES = {"baseline": {"epochs", "checkpoint"}, "trial": {"epochs", "compute"}}


@dataclass(frozen=True)
class Origin:
    """Where a definition was read; no part of what it says.

    Attributes:
        label: What the lines about its mistakes begin with.
        sources: For dotted keys that come from elsewhere, what to say in place of `label`.
    """

    label: str = field(default="study definition", compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def of(self, key: str) -> str:
        """Where a dotted key comes from."""
        found = self.label
        for dotted, source in self.sources.items():
            if key == dotted or key.startswith((f"{dotted}.", f"{dotted}[")) or dotted.startswith(f"{key}."):
                found = source
        return found


class Definition(Table):
    """All that defines a study; the tables and keys are those of its TOML file."""

    study: StudyTable
    model: ModelTable
    data: DataTable
    task: TaskTable = TaskTable()
    baseline: BaselineTable = BaselineTable(epochs=30)
    trial: TrialTable = TrialTable(epochs=10)
    space: Space = Space()
    screening: ScreeningTable = ScreeningTable()
    search: SearchTable
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @model_validator(mode="before")
    @classmethod
    def _default_pruner(cls, tables: Any) -> Any:
        # Optuna's pruners refuse several objectives, so that there the default is none.
        if not isinstance(tables, dict):
            return tables
        search, study = tables.get("search", {}), tables.get("study")
        if not isinstance(search, dict) or "pruner" in search:
            return tables
        objectives = study.get("objectives") if isinstance(study, dict) else None
        several = isinstance(objectives, list | tuple) and len(objectives) > 1
        return {**tables, "search": {**search, "pruner": "none" if several else "median"}}

    @model_validator(mode="before")
    @classmethod
    def _default_objective(cls, tables: Any) -> Any:
        study, task = (tables.get(name, {}) for name in ("study", "task")) if isinstance(tables, dict) else ({}, {})
        if not isinstance(study, dict) or not isinstance(task, dict) or "objectives" in study or "name" not in task:
            return tables
        known = METRICS.get(str(task["name"]))
        return {**tables, "study": {**study, "objectives": ["metric" if known is None else known.name]}}

    @model_validator(mode="after")
    def _metric_of_the_task(self) -> Self:
        known = METRICS.get(self.task.name)
        wanted = "metric" if known is None else known.name
        if self.study.metric != wanted:
            metric = f"{shown(wanted)}, the metric of task {shown(self.task.name)}"
            raise ValueError(f"study.objectives must hold {metric}, but got {shown(self.study.objectives)}")
        return self

    @model_validator(mode="after")
    def _several_objectives(self) -> Self:
        if len(self.study.objectives) == 1:
            return self
        pruner, sampler = self.search.pruner, self.search.sampler
        if pruner != "none":
            raise ValueError(f'search.pruner must be "none" with several objectives, but got {shown(pruner)}')
        if sampler == "cma-es":
            raise ValueError(f"search.sampler must take several objectives, which {shown(sampler)} does not")
        return self

    @model_validator(mode="after")
    def _rungs(self) -> Self:
        search, count = self.search, self.search.rungs
        if count == 1:
            return self
        if len(self.study.objectives) > 1:
            raise ValueError(f"search.rungs must be 1 with several objectives, but got {count}")
        if search.sampler == "grid":
            raise ValueError(f'search.rungs must be 1 with search.sampler = "grid", but got {count}')
        if search.pruner == "hyperband":
            raise ValueError(
                f'search.pruner must be "median", "wilcoxon" or "none" with search.rungs = {count}, which halve the '
                f"trials already, but got {shown(search.pruner)}"
            )
        least = search.reduction_factor ** (count - 1)
        if self.trial.epochs is not None and self.trial.epochs < least:
            raise ValueError(
                f"trial.epochs must be at least {least} with search.rungs = {count}, so that the lowest rung trains an "
                f"epoch, but got {self.trial.epochs}; take fewer rungs, or trial.compute"
            )
        return self

    def mistake(self, key: str, line: str) -> StudyError:
        """The error about a key: where it was written, and one line that begins with the key."""
        return StudyError(f"{self._origin.of(key)}: {line}")

    def to_dict(self) -> dict[str, Any]:
        """The whole definition in JSON types; `parse_definition` reads it back."""
        return self.model_dump(mode="json")

    def with_data_root(self, root: str) -> Definition:
        """The same study with its data in another folder, relative to the working directory."""
        root = placed(("data", "root"), root or ".", Path.cwd())
        return self.model_copy(update={"data": self.data.model_copy(update={"root": root})})

    def with_device(self, device: str) -> Definition:
        """The same study on another device.

        Raises:
            StudyError: If that is none.
        """
        tables = self.model_dump(mode="json", exclude_unset=True)
        tables["trial"] = {**tables.get("trial", {}), "device": device}
        found = parse_definition(tables, sources={"trial.device": f"--device {device}"})
        return self.model_copy(update={"trial": found.trial})

    def with_trials(self, trials: int) -> Definition:
        """The same study with another number of trials."""
        return self.model_copy(update={"study": self.study.model_copy(update={"trials": trials})})

    def fingerprint(self) -> dict[str, Any]:
        """Returns, in JSON types, everything that decides the study's results: all but `FREE_KEYS`."""
        tables = self.to_dict()
        for table, key in FREE_KEYS:
            tables[table].pop(key, None)
        return tables


def load_definition(study: str, overrides: Sequence[str] = ()) -> Definition:
    """The definition of a built-in study or of a TOML file.

    Args:
        study: A built-in study's name, or the path of a `.toml` file.
        overrides: `section.key=value` each, as given to `--set`; a value that is not TOML is taken as text, none at
            all removes the key.

    Raises:
        StudyError: If there is no such study or file, or a key or value in it is not allowed.
    """
    label, text, folder = _read(study)
    try:
        tables = with_places(tomllib.loads(text), folder)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{label}: not valid TOML: {error}") from None
    sources = {}
    for override in overrides:
        path, value = parse_override(override)
        if value is None:
            _remove(tables, path, override)
        else:
            _replace(tables, path, placed(tuple(path), value, Path.cwd()))
        sources[".".join(path)] = f"--set {override}"
    if isinstance(data := tables.get("data"), dict):
        data.setdefault("root", placed(("data", "root"), DATA_ROOT, Path.cwd()))
    definition = parse_definition(tables, label, sources)
    check_name(definition)
    return definition


def parse_definition(
    tables: dict[str, Any], label: str = "study definition", sources: dict[str, str] | None = None
) -> Definition:
    """The definition that the tables describe.

    Args:
        tables: The TOML file's content, or `Definition.to_dict()`.
        label: Where the tables come from; it begins the error's line.
        sources: For dotted keys that come from elsewhere, what to say in place of `label`.

    Raises:
        StudyError: If a key or value is not allowed; one line about the first mistake.
    """
    origin = Origin(label, sources or {})
    try:
        definition = Definition.model_validate(tables)
    except ValidationError as error:
        key, line = explain(error, Definition)
        raise StudyError(f"{origin.of(key)}: {line}") from None
    definition._origin = origin
    return definition


def parse_stored(tables: dict[str, Any], label: str) -> Definition:
    """The definition that some version stored, with the keys added since.

    Relative paths, which earlier versions stored, were meant and are taken from the working directory.

    Args:
        tables: What `Definition.to_dict` returned then, or `Definition.fingerprint`.
        label: Whose it is; it begins the error's line.

    Raises:
        StudyError: If it has keys or values that this version does not know.
    """
    return parse_definition(with_places(completed(tables), Path.cwd()), label)


def stored_fingerprint(tables: dict[str, Any], label: str) -> dict[str, Any]:
    """A fingerprint that some version stored as this version would write it; arguments as `parse_stored`'s."""
    return parse_stored(tables, label).fingerprint()


def builtin_studies() -> list[str]:
    """The names of the studies that come with branchfold."""
    folder = files(_BUILTIN)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def describe_difference(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Which keys differ between two fingerprints, with both values, or None if they are equal.

    A fingerprint of an earlier version may hold paths as they were written, relative to the working directory.
    """
    lines = [f"{key} was {old} and is now {new}" for key, old, new in describe_differences(before, after)]
    if not lines:
        return None
    return ", ".join(lines[:3]) + (f" (and {len(lines) - 3} more)" if len(lines) > 3 else "")


def describe_differences(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The keys that differ between two fingerprints, with the one's value and the other's."""
    return list(_differences(with_places(before, Path.cwd()), with_places(after, Path.cwd())))


def parse_override(override: str) -> tuple[list[str], Any]:
    """The key's parts and the value of one `section.key=value`, None where nothing follows the sign.

    Parts may be quoted as in TOML.
    """
    at = override.find("=")
    while at != -1:
        path = _key_path(override[:at])
        if path is not None and len(path) > 1:
            text = override[at + 1 :].strip()
            return path, _value(text) if text else None
        at = override.find("=", at + 1)
    raise StudyError(f"--set {override}: must be section.key=value, for example --set study.trials=20")


def check_name(definition: Definition) -> None:
    """Checks that a study's name is none of a companion's, nor one that files or commands cannot take.

    Raises:
        StudyError: If it is.
    """
    name = definition.study.name
    for kind in COMPANIONS:
        if name.endswith(f"-{kind}"):
            line = f"must not end in -{kind}, which names what belongs to another study, but got {shown(name)}"
            raise definition.mistake("study.name", f"study.name {line}")
    if name in (".", "..") or name.startswith("-"):
        line = f"must not be '.' or '..' nor begin with '-', since files and commands take it, but got {shown(name)}"
        raise definition.mistake("study.name", f"study.name {line}")


def _read(study: str) -> tuple[str, str, Path]:
    """What to call a definition, its text, and the folder that paths in it are relative to."""
    if study in builtin_studies():
        return f"built-in study {study}", (files(_BUILTIN) / f"{study}.toml").read_text("utf-8"), Path.cwd()
    path = Path(study)
    if path.suffix != ".toml" and not path.is_file():
        known = builtin_studies()
        raise StudyError(
            f"unknown study {study!r}{nearest(study, known)} "
            f"(built in: {', '.join(known)}; or give the path of a .toml file)"
        )
    try:
        return str(path), path.read_text("utf-8"), path.absolute().parent
    except FileNotFoundError:
        raise StudyError(f"no study definition at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StudyError(f"cannot read the study definition {path}: {reason}") from None


def _key_path(key: str) -> list[str] | None:
    try:
        node: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return None
    path: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        name, node = next(iter(node.items()))
        path.append(name)
    return path if node == 0 else None


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _replace(tables: dict[str, Any], path: Sequence[str], value: Any) -> None:
    node = tables
    for part in path[:-1]:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    node[path[-1]] = value
    # Of two keys that exclude each other, the one asked for takes the place of the other.
    table, key = path[0], path[-1]
    if len(path) == 2 and key in ALTERNATIVES.get(table, ()):
        for other in ALTERNATIVES[table] - {key}:
            node.pop(other, None)


def _remove(tables: dict[str, Any], path: Sequence[str], override: str) -> None:
    node: Any = tables
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or path[-1] not in node:
        there = list(node) if isinstance(node, dict) else []
        known = f" (set there: {', '.join(there)})" if there else ""
        raise StudyError(f"--set {override}: there is no such key to remove{nearest(path[-1], there)}{known}")
    del node[path[-1]]


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", _or_not_set(old), _or_not_set(new)


def _or_not_set(value: Any) -> str:
    # A path is told whole: two long ones may differ at their ends.
    return "not set" if value is None else json.dumps(value) if isinstance(value, str) else shown(value)
