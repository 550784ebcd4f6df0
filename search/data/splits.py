"""The images of a study, in memory: its train and validation splits, and by itself the test split."""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import DataError
from .batches import Batches, Split
from .sources import SOURCES, read_digits, read_images

__all__ = ["Batches", "ImageData", "Split", "load_data", "load_test", "stratified_order"]

# scikit-learn's digits have no published test part: these are taken, whatever a study's seed.
DIGITS_TEST_SHARE = 0.2
DIGITS_TEST_SEED = 0

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
    """Return the train and validation splits of a data set.

    Both are stratified: each class has the same share of either, and of any beginning of either.

    Args:
        name: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10`` or ``cifar100``.
        root: The folder of the files, or of the download.
        validation: Share of the published training images that become the validation split, between 0 and 1.
        seed: What the split depends on.
        limit: Number of training examples, for short runs. Validation then has at most half as many, but 500 where
            the split is that large. A smaller limit takes a part of what a larger one takes.

    Raises:
        DataError: If the data set is unknown or cannot be had, or cannot be split as asked.
    """
    source = SOURCES[_known(name)]
    if not 0 < validation < 1:
        raise DataError(f"validation must be between 0 and 1, but got validation={validation!r}")
    images, labels = _train_part(name, root)
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
        _check_limit(name, limit, available=len(chosen["train"]))
        chosen["train"] = chosen["train"][:limit]
        chosen["validation"] = chosen["validation"][: max(limit // 2, LEAST_VALIDATION)]
    splits = {
        split: Split(_pad(images[indices], source.padding), labels[indices], split, source.flips)
        for split, indices in chosen.items()
    }
    mean, std = _pixel_statistics(splits["train"].images)
    return ImageData(name, source.num_classes, mean, std, **splits)


def first_images(name: str, root: str | Path, count: int) -> Tensor:
    """Return the first normalised training images (N, C, H, W), N at most `count`.

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
    """Return a data set's test split: for what is exported or reported, never for a search.

    Args:
        name: As in ``load_data``.
        root: As in ``load_data``.

    Raises:
        DataError: If the data set is unknown or cannot be had.
    """
    source = SOURCES[_known(name)]
    if name == "digits":
        images, labels = read_digits()
        chosen = _digits_order(labels)[0]
        images, labels = images[chosen], labels[chosen]
    else:
        images, labels = read_images(name, Path(root).expanduser(), train=False)
    return Split(_pad(images, source.padding), labels, "test", source.flips)


def stratified_order(labels: Tensor, *, seed: int) -> Tensor:
    """Return a random order (N,) of the examples, any beginning of which holds each class in its share.

    Args:
        labels: (N,) class of each example.
        seed: What the order depends on.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    classes = labels[shuffled]
    # The i-th of a class's n examples belongs at (i + 1/2) / n of the way.
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in classes.unique():
        members = classes == label
        count = int(members.sum())
        place[members] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return shuffled[place.argsort(stable=True)]


def _train_part(name: str, root: str | Path) -> tuple[Tensor, Tensor]:
    if name != "digits":
        return read_images(name, Path(root).expanduser(), train=True)
    images, labels = read_digits()
    chosen = _digits_order(labels)[1]
    return images[chosen], labels[chosen]


def _digits_order(labels: Tensor) -> tuple[Tensor, Tensor]:
    order = stratified_order(labels, seed=DIGITS_TEST_SEED)
    held_out = round(len(order) * DIGITS_TEST_SHARE)
    return order[:held_out], order[held_out:]


def _known(name: str) -> str:
    if name not in SOURCES:
        near = get_close_matches(str(name), SOURCES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DataError(f"unknown data set {name!r}{hint}; known: {', '.join(SOURCES)}")
    return name


def _check_limit(name: str, limit: int, *, available: int) -> None:
    classes = SOURCES[name].num_classes
    if limit < classes:
        raise DataError(f"limit={limit} is too small: {name} has {classes} classes")
    if limit > available:
        raise DataError(f"limit={limit} is too large: {name}'s train split has {available} examples")


def _pad(images: Tensor, padding: int) -> Tensor:
    return F.pad(images, (padding,) * 4) if padding else images


def _pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, of pixels scaled to [0, 1], from its histogram."""
    value = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float((share * value).sum())
        means.append(mean)
        deviations.append(math.sqrt(float((share * (value - mean) ** 2).sum())))
    return tuple(means), tuple(deviations)
