"""The images of a study, in memory: its train and validation splits, and by itself the test split."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import DataError, nearest
from .batches import Batches, Pictures, Split
from .data import Augment, Data
from .known.source import Source
from .known.sources import SOURCES
from .normalisation import Normalisation, pixel_statistics
from .stratification import stratified_order

__all__ = ["Batches", "ImageData", "Split", "load_data", "load_test", "stratified_order"]

# With a limit on the training examples, as few for validation make accuracies too coarse to compare (1 / 500 = 0.2 %).
LEAST_VALIDATION = 500


@dataclass(frozen=True, eq=False)
class ImageData(Data):
    """What a search sees of a data set of images: never its test split.

    Attributes:
        name: The data set's name.
        num_classes: Number of different labels.
        input_shape: (C, H, W) of an image.
        mean: Per channel, subtracted from pixels scaled to [0, 1].
        std: Per channel, by which they are then divided.
        train: The split to train on.
        validation: The split that trials are compared on.
        classes: Names of the labels, where they are known.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Pictures
    validation: Pictures
    classes: tuple[str, ...] = ()

    def example(self, count: int) -> Tensor:
        """Inputs of the shape and type that the batches have: (count, C, H, W)."""
        return torch.zeros(count, *self.input_shape)

    def batches(
        self,
        part: Pictures,
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augment = False,
        seed: int = 0,
        drop_last: bool = False,
        known: Tensor | None = None,
    ) -> Batches:
        """Batches of one of the splits, or of a part of it, normalised; arguments as for ``Batches``."""
        return Batches(
            part,
            batch_size,
            mean=self.mean,
            std=self.std,
            shuffle=shuffle,
            augment=augment,
            seed=seed,
            drop_last=drop_last,
            known=known,
        )


def load_data(
    name: str,
    root: str | Path = "data",
    *,
    validation: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    normalisation: Normalisation | None = None,
) -> ImageData:
    """The train and validation splits of a data set.

    Both are stratified: each class has the same share of either, and of any beginning of either.

    Args:
        name: A name in ``names.DATA_SETS``.
        root: The folder of the files, or of the download.
        validation: Share of the published training images that become the validation split, between 0 and 1.
        seed: What the split depends on.
        limit: Number of training examples, for short runs. Validation then has at most half as many, but 500 where
            the split is that large. A smaller limit takes a part of what a larger one takes.
        normalisation: Of the images; by default that of the train split's pixels.

    Raises:
        DataError: If the data set is unknown or cannot be had, or cannot be split as asked.
    """
    source = source_of(name)
    if not 0 < validation < 1:
        raise DataError(f"validation must be between 0 and 1, but got validation={validation!r}")
    images, labels = source.read(Path(root), "train")
    chosen = divided(
        labels, validation=validation, seed=seed, limit=limit, name=source.name, num_classes=source.num_classes
    )
    train, held_out = (
        Split(images[chosen[part]], labels[chosen[part]], part, source.flips) for part in ("train", "validation")
    )
    found = normalisation or pixel_statistics(train.images)
    return ImageData(name, source.num_classes, source.shape, found.mean, found.std, train, held_out)


def divided(
    labels: Tensor, *, validation: float, seed: int, limit: int | None, name: str, num_classes: int
) -> dict[str, Tensor]:
    """Indices of the train and of the validation split, each stratified and in an order any beginning of which is.

    Args:
        labels: (N,) class of each example, or (N, H, W) of each pixel.
        validation: As in ``load_data``.
        seed: Likewise.
        limit: Likewise.
        name: Of the data set.
        num_classes: Of its labels.

    Raises:
        DataError: If one of them would have fewer examples than there are classes, or the limit is out of range.
    """
    # Masks have no class of a whole image.
    order = stratified_order(labels if labels.dim() == 1 else labels.new_zeros(len(labels)), seed=seed)
    held_out = round(len(order) * validation)
    chosen = {"validation": order[:held_out], "train": order[held_out:]}
    for split, indices in chosen.items():
        if len(indices) < num_classes:
            raise DataError(
                f"validation={validation} leaves {len(indices)} examples in {name}'s {split} split, "
                f"fewer than its {num_classes} classes"
            )
    return limited(chosen, limit, name, num_classes)


def limited(chosen: dict[str, Tensor], limit: int | None, name: str, num_classes: int) -> dict[str, Tensor]:
    """The beginnings of both splits that a limit leaves; as in ``divided``."""
    if limit is None:
        return chosen
    available = len(chosen["train"])
    if limit < num_classes:
        raise DataError(f"limit={limit} is too small: {name} has {num_classes} classes")
    if limit > available:
        raise DataError(f"limit={limit} is too large: {name}'s train split has {available} examples")
    return {"train": chosen["train"][:limit], "validation": chosen["validation"][: max(limit // 2, LEAST_VALIDATION)]}


def first_images(name: str, root: str | Path, count: int) -> Tensor:
    """The first normalised training images (N, C, H, W), N at most `count`.

    Args:
        name: As in ``load_data``.
        root: As in ``load_data``.
        count: Number of images.

    Raises:
        DataError: As in ``load_data``.
    """
    data = load_data(name, root)
    return next(iter(data.batches(data.train, count)))[0]


def load_test(name: str, root: str | Path = "data") -> Split:
    """A data set's test split: for what is exported or reported, never for a search.

    Args:
        name: As in ``load_data``.
        root: As in ``load_data``.

    Raises:
        DataError: If the data set is unknown or cannot be had.
    """
    source = source_of(name)
    images, labels = source.read(Path(root), "test")
    return Split(images, labels, "test", source.flips)


def source_of(name: str) -> Source:
    """A data set as it is published.

    Args:
        name: As in ``load_data``.

    Raises:
        DataError: If it is unknown.
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}{nearest(str(name), SOURCES)} (known: {', '.join(SOURCES)})")
    return SOURCES[name]
