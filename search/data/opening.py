"""From the `[data]` of a definition to its examples, in two steps: what they are like, then the examples themselves."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...errors import DataError
from ...studies.definition.data_keys import DataTable
from .batches import Batches, Pictures
from .data import Data
from .folder.images import read_split
from .folder.pictures import Form
from .folder.scan import TRAIN, Files, scan, test_files
from .normalisation import Normalisation, normalisation_of, pixel_statistics
from .own.checks import Check, any_targets
from .own.data import OwnBatches, OwnData, is_picture, normalised, pair
from .own.given import PREFIX, given_data
from .own.parts import OwnPart, held, part_of
from .own.returned import returned, test_of
from .part import Inputs, Part
from .splits import LEAST_VALIDATION, ImageData, divided, limited, load_data, load_test, source_of
from .stratification import stratified_order

Tell = Callable[[str], None]
# Keys of `[data]` that do not help to find the splits of a file's data again.
ELSEWHERE = ("name", "root", "augment", "normalisation", "workers")
# For mean and standard deviation so many images are looked at where not all are in memory.
_MEASURED = 2048
# Of the user's own training examples so many are checked before a study is made.
_GLANCE = 64


def as_they_are(inputs: Any) -> Any:
    """Inputs in the order that they have."""
    return inputs


class Wanted(NamedTuple):
    """What a study asks of its data.

    Attributes:
        tell: Receives lines for the user.
        stated: Normalisation that belongs to the network's published weights, None without.
        check: Of targets of the user's own.
        arrange: Makes inputs by name the forward's arguments in order.
    """

    tell: Tell
    stated: Normalisation | None = None
    check: Check = any_targets
    arrange: Callable[[Any], Inputs] = as_they_are


class Opened(ABC):
    """A data set of which no examples are in memory yet.

    Attributes:
        table: The definition's.
        seed: What the splits depend on.
        num_classes: Number of different labels; None where that is not known.
        holds_out: Whether the test split is held out of what others may have trained on.
    """

    num_classes: int | None = None
    holds_out = False

    def __init__(self, table: DataTable, seed: int) -> None:
        self.table, self.seed = table, seed

    @abstractmethod
    def example(self, count: int) -> Inputs:
        """Inputs of so many examples, as far as shapes and types go; by name where the data have them so."""

    @abstractmethod
    def read(self, wanted: Wanted) -> Data:
        """The splits that a search may see.

        Raises:
            DataError: If they cannot be had, or not as asked.
        """

    @abstractmethod
    def read_test(self, tell: Tell) -> Part | None:
        """The test split, for what is exported or reported, never for a search; None where there is none.

        Raises:
            DataError: If it cannot be had.
        """

    def judged(self, tell: Tell) -> Part:
        """The split on which an exported network is judged: the test split or, where there is none, validation."""
        return self.read_test(tell) or self.read(Wanted(tell)).validation

    def batches(self, part: Any, batch_size: int, found: Normalisation, wanted: Wanted) -> Iterable[tuple[Any, Any]]:
        """Batches of a split as it was trained on: normalised as a file says."""
        return Batches(part, batch_size, mean=found.mean, std=found.std, shuffle=False, augment=False, seed=0)


class _Known(Opened):
    """A data set by its name."""

    def __init__(self, table: DataTable, seed: int) -> None:
        super().__init__(table, seed)
        self.source = source_of(table.name)
        self.num_classes = self.source.num_classes

    def example(self, count: int) -> Inputs:
        return torch.zeros(count, *self.source.shape)

    def read(self, wanted: Wanted) -> ImageData:
        table = self.table
        given = normalisation_of(table.normalisation, self.source.shape[0], wanted.stated)
        return load_data(
            table.name,
            table.root,
            validation=table.validation,
            seed=self.seed,
            limit=table.limit,
            normalisation=given,
        )

    def read_test(self, tell: Tell) -> Part:
        return load_test(self.table.name, self.table.root)


class OpenedFolder(Opened):
    """A folder of images."""

    def __init__(self, table: DataTable, seed: int, size: tuple[int, int] | None) -> None:
        super().__init__(table, seed)
        height, width = table.size or size or (None, None)
        if height is None or width is None:
            raise DataError("data.size is missing: it is not known what size of images this network is made for")
        self.form = Form(height, width, table.resize, table.greyscale)
        self.folder = scan(Path(table.root), test=table.test)
        self.num_classes = len(self.folder.classes)
        self.holds_out = not self.folder.is_split

    def example(self, count: int) -> Inputs:
        return torch.zeros(count, *self.form.shape)

    def read(self, wanted: Wanted) -> ImageData:
        train, validation = self._files()
        given = normalisation_of(self.table.normalisation, self.form.shape[0], wanted.stated)
        parts = {TRAIN: train, "validation": validation}
        splits = {name: self._split(files, name, wanted.tell) for name, files in parts.items()}
        found = given or _measured(splits[TRAIN])
        return ImageData(
            self.table.name,
            len(self.folder.classes),
            self.form.shape,
            found.mean,
            found.std,
            splits[TRAIN],
            splits["validation"],
            self.folder.classes,
        )

    def read_test(self, tell: Tell) -> Part | None:
        files = test_files(self.folder)
        return None if files is None else self._split(files, "test", tell)

    def _files(self) -> tuple[Files, Files]:
        """Train and validation, each in an order any beginning of which is a fair sample."""
        table, folder, classes = self.table, self.folder, len(self.folder.classes)
        name = f"the folder {folder.root}"
        if folder.validation is None:
            chosen = divided(
                folder.train.labels,
                validation=table.validation,
                seed=self.seed,
                limit=table.limit,
                name=name,
                num_classes=classes,
            )
            found = folder.train.chosen(chosen[TRAIN]), folder.train.chosen(chosen["validation"])
        else:
            files = {TRAIN: folder.train, "validation": folder.validation}
            orders = {part: stratified_order(each.labels, seed=self.seed) for part, each in files.items()}
            orders = limited(orders, table.limit, name, classes)
            found = folder.train.chosen(orders[TRAIN]), folder.validation.chosen(orders["validation"])
        for files_of, part in zip(found, (TRAIN, "validation"), strict=True):
            if len(files_of.labels.unique()) < classes:
                missing = sorted(set(range(classes)) - set(files_of.labels.tolist()))
                raise DataError(
                    f"class {folder.classes[missing[0]]!r} is missing in the {part} split of {folder.root}: it has too "
                    f"few images"
                )
        return found

    def _split(self, files: Files, name: str, tell: Tell) -> Pictures:
        table = self.table
        return read_split(files, name, self.form, flips=table.flips, workers=table.workers, tell=tell)


class _Own(Opened):
    """What the user's code returns."""

    @cached_property
    def _returned(self) -> Any:
        return given_data(self.table) if self.table.name.startswith(PREFIX) else returned(self.table)

    @cached_property
    def _train(self) -> OwnPart:
        return self._part(self._returned.train, TRAIN, self.table.limit)

    @cached_property
    def _first(self) -> Inputs:
        """The inputs of two examples, as the data have them."""
        part = self._train.first(2)
        batch = next(part.passes(torch.arange(len(part)), 2, 1, torch.Generator().manual_seed(0)))
        inputs, _ = pair(batch, self.table.name)
        return normalised(inputs, *self._none(inputs)) if is_picture(inputs) else inputs  # type: ignore[arg-type]

    def example(self, count: int) -> Inputs:
        return self._first

    def read(self, wanted: Wanted) -> OwnData:
        limit = None if self.table.limit is None else max(self.table.limit // 2, LEAST_VALIDATION)
        validation = held(self._part(self._returned.validation, "validation", limit))
        found = self._normalisation(wanted.stated)
        data = OwnData(
            self.table.name,
            self._train,
            validation,
            wanted.arrange(self._first),
            wanted.check,
            wanted.arrange,
            *(found or ()),
        )
        for part in (data.train.first(_GLANCE), data.validation):
            for _ in data.batches(part, 500):  # a mistake in them is told before a study is made
                pass
        return data

    def read_test(self, tell: Tell) -> Part | None:
        value = test_of(self._returned, self.table.name)
        return None if value is None else held(self._part(value, "test", None))

    def batches(self, part: Any, batch_size: int, found: Normalisation, wanted: Wanted) -> OwnBatches:
        data = OwnData(self.table.name, part, part, self._first, wanted.check, wanted.arrange, *found)
        return data.batches(part, batch_size)

    def _part(self, value: Any, name: str, limit: int | None) -> OwnPart:
        return part_of(value, name, workers=self.table.workers, seed=self.seed, limit=limit)

    def _normalisation(self, stated: Normalisation | None) -> Normalisation | None:
        raw = self._raw(2)
        if not is_picture(raw):
            if self.table.normalisation not in (None, "none"):
                raise DataError(
                    f"data.normalisation is for images as uint8 (N, C, H, W), which the inputs of {self.table.name} "
                    f"are not: they are taken as they come"
                )
            return None
        return normalisation_of(self.table.normalisation, raw.shape[1], stated) or pixel_statistics(
            self._raw(_MEASURED)
        )

    def _raw(self, count: int) -> Any:
        part = self._train.first(count)
        batches = part.passes(torch.arange(len(part)), len(part), 1, torch.Generator().manual_seed(0))
        return pair(next(batches), self.table.name)[0]

    def _none(self, images: Any) -> Normalisation:
        return Normalisation((0.0,) * images.shape[1], (1.0,) * images.shape[1])


def open_data(table: DataTable, *, seed: int, size: tuple[int, int] | None = None) -> Opened:
    """The data set of a definition, opened.

    Args:
        table: The definition's `[data]`.
        seed: The study's.
        size: (height, width) of the images that the network is made for, where that is known.

    Raises:
        DataError: If it is not there, or is none.
    """
    if table.is_own:
        return _Own(table, seed)
    return OpenedFolder(table, seed, size) if table.is_folder else _Known(table, seed)


def _measured(split: Pictures) -> Normalisation:
    """Of all images in memory, else of the first ones."""
    part = split if hasattr(split, "images") else split.first(_MEASURED)
    if hasattr(part, "images"):
        return pixel_statistics(part.images)
    (batch,) = part.read([torch.arange(len(part))])
    return pixel_statistics(batch[0])
