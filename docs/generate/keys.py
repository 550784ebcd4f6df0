"""All keys of a study definition, from the models that check them, and the names that their values may have."""

import ast
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from branchfold import names
from branchfold.studies.definition.dimensions import Choices, Fixed, Range, plain
from branchfold.studies.definition.reading import Definition

# What no key takes: a check says of it what it allows.
_IMPOSSIBLE = "\0"
_BOUNDS: dict[type, str] = {Ge: "≥ {0.ge}", Gt: "> {0.gt}", Le: "≤ {0.le}", Lt: "< {0.lt}"}


def keys() -> list[str]:
    """A section for each table: what it is, and its keys with what they allow and their defaults."""
    return [line for path, model in _tables(Definition) for line in _section(path, model)]


def named_values() -> list[str]:
    """A row for each name in `names`, under the key that takes it."""
    rows = [f"| {where} | `{name}` | {meaning} |" for where, found in _name_sets() for name, meaning in found.items()]
    return ["| key | name | meaning |", "| --- | --- | --- |", *rows]


def _tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for key, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            path = f"{prefix}{key}"
            if any(not _is_table(inner) for inner in kind.model_fields.values()):
                yield path, kind
            yield from _tables(kind, f"{path}.")


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    title, *text = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    yield from (f"### `{path}`", "", _sentence(title), "")
    for paragraph in text:
        yield from (" ".join(paragraph.split()), "")
    yield from ("| key | allowed | default |", "| --- | --- | --- |")
    for key, field in model.model_fields.items():
        if not _is_table(field):
            yield f"| `{key}` | {_allowed(field)} | {_default(field)} |"
    yield ""


def _sentence(title: str) -> str:
    text = " ".join(title.split()).partition(": ")[2]
    return text[:1].upper() + text[1:]


def _allowed(field: FieldInfo) -> str:
    """What the checks of a key say that they allow."""
    found: list[str] = []
    for mark in _marks(field):
        if isinstance(mark, AfterValidator | BeforeValidator):
            found.append(_told_by(mark.func))
        elif type(mark) in _BOUNDS:
            found.append(_BOUNDS[type(mark)].format(mark))
        elif isinstance(mark, MinLen):
            found.append("a text")
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    told = list(dict.fromkeys(part for part in found if part))
    told = told or [kinds[kind] for kind in kinds if kind in _types(field.annotation)]
    return "; ".join(told).replace("|", "\\|")


def _marks(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    yield from _nested(field.annotation)


def _nested(annotation: Any) -> Iterator[Any]:
    """The checks of an annotation and of all that it is made of."""
    for mark in getattr(annotation, "__metadata__", ()):
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
    for part in get_args(annotation):
        yield from _nested(part)


def _types(annotation: Any) -> set[Any]:
    return {annotation, *(kind for part in get_args(annotation) for kind in _types(part))}


def _told_by(check: Callable[..., Any]) -> str:
    for value in (Fixed(_IMPOSSIBLE), (_IMPOSSIBLE,), _IMPOSSIBLE):
        try:
            check(value)
        except (ValueError, TypeError, AttributeError) as error:
            text = str(error)
            if text.startswith("must "):
                return (
                    " ".join(text.partition("; did you mean")[0].split()).removeprefix("must be ").removeprefix("must ")
                )
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "to be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Fixed | Choices | Range):
        value = plain(value)
    if isinstance(value, dict):
        return f"`{{ {', '.join(f'{key} = {json.dumps(part)}' for key, part in value.items())} }}`" if value else "none"
    return "not set" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _name_sets() -> Iterator[tuple[str, dict[str, str]]]:
    """The sets of `names`, each with the comment above it."""
    source = Path(inspect.getfile(names)).read_text("utf-8")
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            comment = lines[node.lineno - 2].removeprefix("# ").split(",")[0].split(":")[0]
            yield f"`{comment}`", getattr(names, node.targets[0].id)
