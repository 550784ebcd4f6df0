"""The places that a definition names, made absolute: what finds them depends on no working directory then.

A path in a TOML file is relative to that file's folder, one given on the command line to the working directory, and the
default data root lies under the working directory, as all else that a run writes. Whatever way a path is spelled, the
same file is the same text here, so that studies can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

DATA_ROOT = "data"
# The keys that hold paths; a factory, or what makes the data, only where it lies in a file.
_FACTORIES = (("model", "factory"), ("data", "name"))
_PLACES = (*_FACTORIES, ("baseline", "checkpoint"), ("data", "root"))


def placed(key: tuple[str, ...], value: Any, folder: Path) -> Any:
    """A key's value with its path made absolute; as it is where it holds none.

    Args:
        key: Table and name, such as `("model", "factory")`.
        value: As a TOML file has it.
        folder: What the path is relative to.
    """
    if key not in _PLACES or not isinstance(value, str) or not value:
        return value
    return placed_factory(value, folder) if key in _FACTORIES else _absolute(value, folder)


def placed_factory(spec: str, folder: Path) -> str:
    """`path/to/file.py:factory` with an absolute path; any other form as it is."""
    source, colon, name = spec.rpartition(":")
    return f"{_absolute(source, folder)}:{name}" if colon and source.endswith(".py") else spec


def with_places(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A definition's tables with all their paths made absolute."""
    return {
        table: {key: placed((table, key), value, folder) for key, value in keys.items()}
        if isinstance(keys, dict)
        else keys
        for table, keys in tables.items()
    }


def _absolute(path: str, folder: Path) -> str:
    try:
        return str(folder.joinpath(Path(path).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError):  # nobody's home, a loop of links: whoever opens it tells
        return path
