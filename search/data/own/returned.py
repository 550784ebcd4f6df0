"""What the user's code returns, as three splits: data sets or loaders."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from ....errors import DataError, NetworkError, nearest, typed_line
from ....models.networks.imports import importable, load_file, load_module
from ....studies.definition.data_keys import DataTable

_FORMS = "a LightningDataModule, or data sets or DataLoaders as a dict or tuple of train, validation and perhaps test"
_KEYS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}


class Returned(NamedTuple):
    """The splits; the test split is looked at where something is exported or reported alone.

    Attributes:
        train: A data set with a length, or a loader.
        validation: Likewise.
        test: Likewise; None where there is none.
        module: The LightningDataModule that they come from, if they do.
    """

    train: Any
    validation: Any
    test: Any = None
    module: Any = None


def returned(table: DataTable) -> Returned:
    """What `path/to/file.py:make` or `package.module:make` returns for the arguments of `[data]`.

    Raises:
        DataError: If it cannot be imported or called, or returns something else.
    """
    make, folder = _found(table.name)
    arguments = _arguments(table, make)
    try:
        with importable(folder):
            value = make(**arguments)
            return splits_of(value, table.name)
    except DataError:
        raise
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise DataError(f"data {table.name!r} cannot be made with ({given}): {typed_line(error)}") from error


def test_of(found: Returned, name: str) -> Any:
    """The test split, None without one; a data module is set up for it now.

    Raises:
        DataError: If that fails.
    """
    if found.module is None:
        return found.test
    module = found.module
    if not _overrides(module, "test_dataloader"):
        return None
    try:
        module.setup("test")
        return module.test_dataloader()
    except Exception as error:
        raise DataError(f"data {name!r}: its test split cannot be had: {typed_line(error)}") from error


def _found(spec: str) -> tuple[Any, Any]:
    source, _, name = spec.rpartition(":")
    try:
        module, folder = load_file(source) if source.endswith(".py") else load_module(source)
    except NetworkError as error:  # imports tell it so, whatever is imported
        raise DataError(str(error)) from error
    make = getattr(module, name, None)
    if not callable(make):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise DataError(f"data {spec!r}: {source} has no function or class {name!r}{nearest(name, known)}")
    return make, folder


def _arguments(table: DataTable, make: Any) -> dict[str, Any]:
    arguments = table.arguments
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return arguments
    if "root" in parameters:
        arguments.setdefault("root", table.root)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    for name in arguments:
        if name not in parameters:
            raise DataError(
                f"data {table.name!r} has no argument {name!r}{nearest(name, parameters)} "
                f"(accepted: {', '.join(parameters) or 'none'})"
            )
    return arguments


def splits_of(value: Any, name: str) -> Returned:
    """The splits of what the user's code returns, a data module set up for training.

    Args:
        value: as `[data] name` of the user's own may return.
        name: of the data, for messages.

    Raises:
        DataError: If it is something else, or a split is missing or empty.
    """
    from pytorch_lightning import LightningDataModule

    if isinstance(value, LightningDataModule):
        value.prepare_data()
        value.setup("fit")
        found = Returned(value.train_dataloader(), value.val_dataloader(), module=value)
    elif isinstance(value, Mapping):
        if unknown := [key for key in value if key not in _KEYS]:
            raise DataError(f"data {name!r} returned a dict with {unknown[0]!r}; its keys are train, validation, test")
        found = Returned(**{"train": None, "validation": None, **{_KEYS[key]: part for key, part in value.items()}})
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) in (2, 3):
        found = Returned(*value)
    else:
        raise DataError(f"data {name!r} must return {_FORMS}, but returned {_kind(value)}")
    for part in ("train", "validation", "test"):
        _check(getattr(found, part), part, name)
    return found


def _check(value: Any, part: str, name: str) -> None:
    if value is None:
        if part == "test":
            return
        raise DataError(f"data {name!r} returned no {part} split; it must return {_FORMS}")
    map_style = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    if not isinstance(value, DataLoader | Dataset) and not map_style:
        raise DataError(f"data {name!r}: the {part} split must be a data set or a DataLoader, but is {_kind(value)}")
    try:
        empty = len(value) == 0
    except TypeError:
        raise DataError(f"data {name!r}: the {part} split has no length, which a trial's length is told by") from None
    if empty:
        raise DataError(f"data {name!r}: the {part} split is empty")


def _overrides(module: Any, method: str) -> bool:
    from pytorch_lightning import LightningDataModule

    return getattr(type(module), method, None) is not getattr(LightningDataModule, method, None)


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__
