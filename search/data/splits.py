"""The images of a study, in memory: its train and validation splits, and by itself the test split."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import DataError, nearest
from .batches import Batches, Split
from .source import Source
from .sources import SOURCES
from .stratification import stratified_order

__all__ = ["Batches", "ImageData", "Split", "load_data", "load_test", "stratified_order"]

# With a limit on the training examples, as few for validation make accuracies too coarse to compare (1 / 500 = 0.2 %).
LEAST_VALIDATION = 500


@dataclass(frozen=True, eq=False)
class ImageData:
    """What a search sees of a data set: never its test split.

    Attributes:
        name: The data set's name.
        num_classes: Number of different labels.
        mean: Per channel, of the train split's pixels scaled to [0, 1].
        std: Likewise their standard deviation.
        train: The split to train on.
        validation: The split that trials are compared on.
    """

    name: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    validation: Split

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.train.images.shape
        return (channels, height, width)


def load_data(
    name: str, root: str | Path = "data", *, validation: float = 0.1, seed: int = 0, limit: int | None = None
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

    Raises:
        DataError: If the data set is unknown or cannot be had, or cannot be split as asked.
    """
    source = source_of(name)
    if not 0 < validation < 1:
        raise DataError(f"validation must be between 0 and 1, but got validation={validation!r}")
    images, labels = source.read(Path(root), "train")
    order = stratified_order(labels, seed=seed)
    held_out = round(len(order) * validation)
    chosen = {"validation": order[:held_out], "train": order[held_out:]}
    for split, indices in chosen.items():
        if len(indices) < source.num_classes:
            raise DataError(
                f"validation={validation} leaves {len(indices)} examples in {name}'s {split} split, "
                f"fewer than its {source.num_classes} classes"
            )
    if limit is not None:
        _check_limit(source, limit, available=len(chosen["train"]))
        chosen["train"] = chosen["train"][:limit]
        chosen["validation"] = chosen["validation"][: max(limit // 2, LEAST_VALIDATION)]
    splits = {split: Split(images[indices], labels[indices], split, source.flips) for split, indices in chosen.items()}
    mean, std = _pixel_statistics(splits["train"].images)
    return ImageData(name, source.num_classes, mean, std, **splits)


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
    batches = Batches(data.train, count, mean=data.mean, std=data.std, shuffle=False, augment=False, seed=0)
    return next(iter(batches))[0]


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


def _check_limit(source: Source, limit: int, *, available: int) -> None:
    if limit < source.num_classes:
        raise DataError(f"limit={limit} is too small: {source.name} has {source.num_classes} classes")
    if limit > available:
        raise DataError(f"limit={limit} is too large: {source.name}'s train split has {available} examples")


def _pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each channel's mean and standard deviation, of pixels scaled to [0, 1], from its histogram."""
    value = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float((share * value).sum())
        means.append(mean)
        deviations.append(math.sqrt(float((share * (value - mean) ** 2).sum())))
    return tuple(means), tuple(deviations)
