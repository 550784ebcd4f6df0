"""The files of a folder of images with their classes, as they are split; no image is opened."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from ....errors import DataError

TRAIN = "train"
# What the folders of the splits may be called.
NAMES = {TRAIN: ("train", "training"), "validation": ("validation", "val", "valid"), "test": ("test", "testing")}
_LISTED = 5


@dataclass(frozen=True, eq=False)
class Files:
    """Image files with a class each.

    Attributes:
        paths: Of the files.
        labels: (N,) int64.
    """

    paths: tuple[Path, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Sequence[int] | Tensor) -> "Files":
        """Those of the files, in that order."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        return Files(tuple(self.paths[i] for i in indices.tolist()), self.labels[indices])


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of images.

    Attributes:
        root: Of the images.
        classes: Their names, in the order of the labels.
        train: Files to train on, those for validation among them where they have no folder of their own.
        validation: Files of that folder; None without.
    """

    root: Path
    classes: tuple[str, ...]
    train: Files
    validation: Files | None
    test_share: float

    @property
    def is_split(self) -> bool:
        """Whether the folder holds a folder for each split."""
        return is_split(self.root)


def is_split(root: Path) -> bool:
    """Whether a folder holds a folder for each split."""
    return _part_folder(root, TRAIN) is not None


def scan(root: Path, *, test: float) -> Folder:
    """The train and validation files of a folder.

    Args:
        root: With a folder for each class, or with ``train`` and perhaps ``validation`` with such folders.
        test: Share of each class's files that is held out where there is one level; the same ones whatever the seed
            and whatever files are added, as a file's name alone decides its place.

    Raises:
        DataError: If there are no two classes with images, or a class is missing in a split.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"data.root = {str(root)!r} is no folder{' but a file' if root.exists() else ''}")
    folder = _part_folder(root, TRAIN)
    if folder is None:
        classes, files = _listed(root)
        held_out = _held_out(files, root, test, classes)
        return Folder(root, classes, files.chosen([i for i in range(len(files)) if i not in held_out]), None, test)
    classes, files = _listed(folder)
    # Only the names in the test folder are read: a study that could not be judged at its end does not begin.
    if (tested := _part_folder(root, "test")) is not None:
        _check_classes(_class_names(tested), classes, tested, "test")
    validation = _part(root, "validation", classes)
    return Folder(root, classes, files, validation, test)


def test_files(folder: Folder) -> Files | None:
    """The files of the test split; None where the folder's splits are without one.

    Raises:
        DataError: If a class is missing in it.
    """
    if folder.is_split:
        return _part(folder.root, "test", folder.classes)
    classes, files = _listed(folder.root)
    return files.chosen(sorted(_held_out(files, folder.root, folder.test_share, classes)))


def _listed(folder: Path) -> tuple[tuple[str, ...], Files]:
    classes = _class_names(folder)
    numbers = {name: i for i, name in enumerate(classes)}
    samples = make_dataset(str(folder), numbers, IMG_EXTENSIONS, allow_empty=True) if classes else []
    if not samples:
        what = "the folders of its classes hold none" if classes else "there is no folder for each class in it"
        raise DataError(f"no images in {folder}: {what} (read are {', '.join(IMG_EXTENSIONS)})")
    labels = torch.tensor([label for _, label in samples])
    present = set(labels.tolist())
    if empty := [name for i, name in enumerate(classes) if i not in present]:
        raise DataError(f"no images in {_named(empty)} of {folder}: a class without images; move it away")
    if len(classes) < 2:
        raise DataError(
            f"one class alone in {folder}, {classes[0]!r}: a folder for each of two classes or more is needed"
        )
    return classes, Files(tuple(Path(path) for path, _ in samples), labels)


def _class_names(folder: Path) -> tuple[str, ...]:
    # Hidden folders, such as `.ipynb_checkpoints`, are no classes.
    return tuple(sorted(x.name for x in folder.iterdir() if x.is_dir() and not x.name.startswith(".")))


def _check_classes(found: Sequence[str], classes: Sequence[str], folder: Path, part: str) -> None:
    if missing := sorted(set(classes) - set(found)):
        raise DataError(
            f"{_named(missing)} missing in the {part} split, {folder}: each split needs all {len(classes)} classes"
        )
    if more := sorted(set(found) - set(classes)):
        raise DataError(f"{_named(more)} of the {part} split, {folder}, missing in the train split")


def _part(root: Path, part: str, classes: tuple[str, ...]) -> Files | None:
    folder = _part_folder(root, part)
    if folder is None:
        return None
    _check_classes(_class_names(folder), classes, folder, part)
    return _listed(folder)[1]


def _part_folder(root: Path, part: str) -> Path | None:
    """The folder of a split: one of its names, with folders in it; a class may be called so too."""
    folders = (root / name for name in NAMES[part])
    return next((folder for folder in folders if folder.is_dir() and any(x.is_dir() for x in folder.iterdir())), None)


def _held_out(files: Files, root: Path, share: float, classes: Sequence[str]) -> set[int]:
    """Indices of the test split: of each class those files whose names have the lowest digests."""
    places = [hashlib.sha256(path.relative_to(root).as_posix().encode()).digest() for path in files.paths]
    chosen: set[int] = set()
    for label, members in _by_class(files.labels):
        if len(members) < 3:
            count = f"{len(members)} {'image' if len(members) == 1 else 'images'}"
            raise DataError(f"class {classes[label]!r} of {root} has {count}: too few for three splits")
        ranked = sorted(members, key=places.__getitem__)
        chosen.update(ranked[: max(1, round(share * len(ranked)))])
    return chosen


def _by_class(labels: Tensor) -> Iterator[tuple[int, list[int]]]:
    for label in labels.unique().tolist():
        yield label, (labels == label).nonzero().flatten().tolist()


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(map(repr, names[:_LISTED]))}{more}"
