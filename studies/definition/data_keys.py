"""`[data]`: the examples of a study, be they a known data set, a folder of images, or what the user's code returns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ...names import AUGMENTATIONS, DATA_SETS, NORMALISATIONS, RESIZES
from .dimensions import Choices, Dimension, Fixed, Range, UnknownKeyError, UnknownNameError, named
from .keys import Table
from .places import DATA_ROOT

FOLDER = "folder"
# What a baseline and its trials do with their images unless they are told.
AUGMENTATION = "shift-flip"
# Joins augmentations where a list cannot stand: in a choice of `space.training.augment`.
AND = "+"
# Keys that only a folder of images has, and those of images alone.
FOLDER_KEYS = ("size", "resize", "greyscale", "flips", "test")


def augmentations(value: Any) -> tuple[str, ...]:
    """The names of the augmentations that a value stands for, one after another; none of "none" and false.

    Raises:
        ValueError: If the value is no boolean, name, names joined by "+", or list of names.
    """
    if isinstance(value, bool):
        return (AUGMENTATION,) if value else ()
    found = value.split(AND) if isinstance(value, str) else value
    text = f"be true, false, one or a list of {_listed(AUGMENTATIONS)}"
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"must {text}")
    for name in found:
        if name not in AUGMENTATIONS:
            raise UnknownNameError(f"must {text}", name, AUGMENTATIONS)
    return tuple(name for name in found if name != "none")


def augmenting(dimension: Dimension) -> Dimension:
    """The dimension if each of its values names augmentations; true are those of `[data]`."""
    if isinstance(dimension, Range):
        raise ValueError(f"must be true, false, or one or a list of {_listed(AUGMENTATIONS)}")
    for value in (dimension.value,) if isinstance(dimension, Fixed) else dimension.values:
        augmentations(value)
    assert isinstance(dimension, Fixed | Choices)
    return dimension


def _augment(value: Any) -> Any:
    augmentations(value)
    return list(value) if isinstance(value, tuple) else value


def _name(name: str) -> str:
    if ":" not in name and name not in DATA_SETS and name != FOLDER:
        known = [*DATA_SETS, FOLDER]
        raise UnknownNameError(
            f"must be one of {_listed(known)}, path/to/file.py:MAKE or package.module:MAKE", name, known
        )
    return name


def _size(value: Any) -> Any:
    """(height, width) of one number or of two."""
    sizes = [value, value] if isinstance(value, int) else value
    whole = isinstance(sizes, list | tuple) and all(isinstance(x, int) and not isinstance(x, bool) for x in sizes)
    if not whole or len(sizes) != 2 or min(sizes) < 1:
        raise ValueError("must be a number of pixels or [height, width]")
    return list(sizes)


def _normalisation(value: Any) -> Any:
    text = f"must be one of {_listed(NORMALISATIONS)}, or {{ mean = [...], std = [...] }} of as many channels each"
    if isinstance(value, str):
        if value not in NORMALISATIONS:
            raise UnknownNameError(text, value, NORMALISATIONS)
        return value
    if not isinstance(value, dict) or value.keys() != {"mean", "std"}:
        raise ValueError(text)
    found = {key: [float(x) for x in _numbers(numbers, text)] for key, numbers in value.items()}
    if len(found["mean"]) != len(found["std"]) or min(found["std"]) <= 0:
        raise ValueError(f"{text}, std above 0")
    return found


def _numbers(values: Any, text: str) -> list[float]:
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(text)
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        raise ValueError(text)
    return list(values)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


class DataTable(Table):
    """`[data]`: the examples; `limit` counts training examples, `validation` is the share held out of them.

    With `name = "folder"`, `root` holds a folder of images for each class, or `train`, `validation` and `test` with
    such folders in each. One level is split: the share `test` is held out, whatever the seed, and never seen by the
    search. `size` is what images are brought to, by default what the network is made for, as `resize` says; `flips` is
    whether a mirrored image still shows its class. Code of your own returns a LightningDataModule, a dict or tuple of
    data sets (train, validation, test), or of DataLoaders; all keys beyond these are its arguments, and `root` if it
    takes one.

    `augment` is one augmentation or a list, done one after another; true is "shift-flip", and what data of your own do
    themselves. `normalisation` is by default "weights" with `baseline.weights`, else "measured"; data of your own come
    as they are. `workers` are the processes that read images which do not fit into memory, by default as many as the
    run has threads.
    """

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, AfterValidator(_name)]
    root: Annotated[str, Field(min_length=1)] = DATA_ROOT
    limit: Annotated[int, Field(ge=2)] | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.15
    size: Annotated[Any, BeforeValidator(_size)] = None
    resize: Annotated[str, AfterValidator(named(RESIZES))] = "crop"
    greyscale: bool = False
    flips: bool = True
    augment: Annotated[Any, BeforeValidator(_augment)] = True
    normalisation: Annotated[Any, BeforeValidator(_normalisation)] = None
    workers: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, table: Any) -> Any:
        # A stored definition has null for what is not set.
        if not isinstance(table, dict):
            return table
        return {key: value for key, value in table.items() if value is not None or key not in ("size", "normalisation")}

    @model_validator(mode="after")
    def _known_keys(self) -> Self:
        known = [key for key in type(self).model_fields if self.is_folder or key not in FOLDER_KEYS]
        for key in self.model_extra or {}:
            if not self.is_own:
                raise UnknownKeyError(key, known)
        for key in FOLDER_KEYS:
            if not self.is_folder and getattr(self, key) != type(self).model_fields[key].default:
                raise UnknownKeyError(key, known)
        return self

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of images."""
        return self.name == FOLDER

    @property
    def is_own(self) -> bool:
        """Whether the user's own code makes it."""
        return ":" in self.name

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the user's own code."""
        return dict(self.model_extra or {})
