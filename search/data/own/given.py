"""Data that a program hands over as objects: known by a digest of what they are, in this process alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from ....errors import DataError, typed_line
from ....models.networks.given import PREFIX
from ....studies.definition.data_keys import DataTable
from ...digests import class_name, digest_of_values, seeded
from .returned import Returned, splits_of

__all__ = ["PREFIX", "give_data", "given_data"]

# Examples of a split that its digest covers.
_SAMPLE = 16
_GIVEN: dict[str, Returned] = {}


def give_data(value: Any) -> str:
    """The name by which data are found from here on, ``given:`` and a digest.

    The digest covers the class, the lengths of the train and the validation split, and a sample of their examples. It
    is taken with random numbers of a fixed seed: a split drawn while a data module is set up, and what augments its
    examples, come out the same in every process.

    Args:
        value: what `[data] name` of the user's own may return.

    Raises:
        DataError: If it is something else, or an example cannot be read.
    """
    kind = type(value).__name__
    try:
        with seeded():
            found = splits_of(value, kind)
            sample = [_sample(part) for part in (found.train, found.validation)]
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data {kind!r} cannot be read: {typed_line(error)}") from error
    name = f"{PREFIX}{digest_of_values(class_name(value), *sample)}"
    _GIVEN[name] = found
    return name


def given_data(table: DataTable) -> Returned:
    """The splits of the data that were given by a name.

    Raises:
        DataError: If none were in this process, or there are arguments for them.
    """
    if table.name not in _GIVEN:
        raise DataError(
            f"data {table.name!r} were given as an object by another process, or are others now; "
            f"give them again, or name what makes them in their place: path/to/file.py:MAKE"
        )
    if table.arguments:
        raise DataError(f"data that are given take no arguments, but got {', '.join(sorted(table.arguments))}")
    return _GIVEN[table.name]


def _sample(part: Any) -> list[Any]:
    """A split's class, its length, and some of its examples: first, last and evenly between."""
    source: Any = part.dataset if isinstance(part, DataLoader) else part
    if not hasattr(source, "__getitem__") or isinstance(source, Mapping):
        return [class_name(part), len(part)]  # a stream: to read from it would use it up
    places = torch.linspace(0, len(source) - 1, min(_SAMPLE, len(source))).round().long().tolist()
    return [class_name(part), len(part), len(source), *(source[place] for place in places)]
