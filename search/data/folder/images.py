"""The images of a folder: decoded into memory where they fit, else streamed by processes of their own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ....errors import DataError, one_line
from ...process.machine import available_memory, cores
from ..batches import Pictures, Split
from .pictures import Form, read_picture
from .scan import Files

# Images are held in memory if they take no more than this share of what is free: other workers, and the training, need
# the rest.
MEMORY_SHARE = 0.25
_AT_MOST = f"{100 * MEMORY_SHARE:.0f} %"
# Of so many images one may be unreadable.
TOLERATED = 100
_NAMED = 3
_GIB = 2**30

Tell = Callable[[str], None]


def fits(count: int, form: Form) -> bool:
    """Whether so many images may be held in memory."""
    free = available_memory()
    return free is None or count * prod(form.shape) <= MEMORY_SHARE * free


def read_split(files: Files, name: str, form: Form, *, flips: bool, workers: int | None, tell: Tell) -> Pictures:
    """A split's images, in memory where they fit; those that cannot be read are told and left out.

    Args:
        files: Of the split, in the order wanted.
        name: Of the split.
        form: Of its images.
        flips: Whether a mirrored image still shows its class.
        workers: Processes that stream, as many as torch has threads if not given.
        tell: Receives a line for the user.

    Raises:
        DataError: If more than one image in a hundred cannot be read, or a class has none left.
    """
    size = len(files) * prod(form.shape) / _GIB
    if fits(len(files), form):
        split: Pictures = _in_memory(files, name, form, flips, tell)
        tell(f"{name}: {len(split):,} images in memory ({size:.2f} GiB, {_AT_MOST} of what is free at most)")
        return split
    workers = torch.get_num_threads() if workers is None else workers
    tell(
        f"{name}: {len(files):,} images are {size:.2f} GiB, more than {_AT_MOST} of the free memory: streamed "
        f"by {workers} {'process' if workers == 1 else 'processes'}"
    )
    if name != "train":  # which examples a network is judged on is to be known before
        files = _without_unreadable(files, form, name, tell)
    return StreamedSplit(files, name, flips, form, workers, tell, len(files))


@dataclass(frozen=True, eq=False)
class StreamedSplit(Pictures):
    """Images that are read whenever they are wanted.

    Attributes:
        files: Of the images.
        name: ``"train"``, ``"validation"`` or ``"test"``.
        flips: Whether a mirrored image still shows its class, so that augmenting may mirror it.
        form: Of the images.
        workers: Processes that read; with 0, this one does.
        tell: Receives a line about images that cannot be read, which are left out of their batches.
        whole: Images of the split that this is, or is a part of.
    """

    files: Files
    name: str
    flips: bool
    form: Form
    workers: int
    tell: Tell
    whole: int

    @property
    def labels(self) -> Tensor:  # type: ignore[override]
        return self.files.labels

    @property
    def channels(self) -> int:
        return self.form.shape[0]

    def read(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        loader: DataLoader[Any] = DataLoader(
            _Decoded(self.files.paths, self.form),
            batch_sampler=[chosen.tolist() for chosen in batches],
            num_workers=self.workers,
            collate_fn=_together,
            generator=torch.Generator().manual_seed(0),  # else each pass would draw from torch's own
        )
        failures: list[str] = []
        for chosen, (images, good, failed) in zip(batches, loader, strict=True):
            failures += failed
            _check_failures(failures, self.whole, self.name)
            if good:
                yield images, self.labels[chosen[good]]
        if failures:
            self.tell(_left_out(failures, self.whole, self.name))

    def part(self, chosen: slice) -> Self:
        return replace(self, files=self.files.chosen(range(len(self))[chosen]))


class _Decoded(Dataset[Tensor | str]):
    """Each image, or the line that tells why it cannot be read."""

    def __init__(self, paths: Sequence[Path], form: Form) -> None:
        self.paths, self.form = paths, form

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor | str:
        return _decoded(self.paths[index], self.form)


def _together(items: list[Tensor | str]) -> tuple[Tensor | None, list[int], list[str]]:
    """The images of a batch as one tensor, their places in it, and the lines about the others.

    It is one tensor before it leaves the process that read it: one alone of shared memory, and nothing left to copy.
    """
    good = [i for i, item in enumerate(items) if isinstance(item, Tensor)]
    images = torch.stack([items[i] for i in good]) if good else None  # type: ignore[misc]
    return images, good, [item for item in items if isinstance(item, str)]


def _decoded(path: Path, form: Form) -> Tensor | str:
    try:
        return read_picture(path, form)
    except Exception as error:  # Pillow raises whatever a damaged byte leads to
        return f"{path} ({one_line(error).replace(str(path), path.name):.80})"


def _in_memory(files: Files, name: str, form: Form, flips: bool, tell: Tell) -> Split:
    images = torch.empty(len(files), *form.shape, dtype=torch.uint8)
    good: list[int] = []
    failures: list[str] = []
    # Threads: Pillow decodes and resizes without Python's lock.
    with ThreadPoolExecutor(cores()) as pool:
        for path_number, item in enumerate(pool.map(partial(_decoded, form=form), files.paths, chunksize=64)):
            if isinstance(item, Tensor):
                images[len(good)] = item
                good.append(path_number)
            else:
                failures.append(item)
    _report(failures, files, good, name, tell)
    return Split(images[: len(good)], files.labels[torch.tensor(good, dtype=torch.int64)], name, flips)


def _without_unreadable(files: Files, form: Form, name: str, tell: Tell) -> Files:
    with ThreadPoolExecutor(cores()) as pool:
        found = pool.map(lambda path: _reason(path, form), files.paths, chunksize=64)
        reasons = list(found)
    good = [i for i, reason in enumerate(reasons) if not reason]
    _report([reason for reason in reasons if reason], files, good, name, tell)
    return files.chosen(good)


def _reason(path: Path, form: Form) -> str:
    item = _decoded(path, form)
    return item if isinstance(item, str) else ""


def _report(failures: list[str], files: Files, good: list[int], name: str, tell: Tell) -> None:
    if not failures:
        return
    _check_failures(failures, len(files), name)
    if len(files.labels[good].unique()) < len(files.labels.unique()):
        raise DataError(f"{_left_out(failures, len(files), name)}: a class has no other images there")
    tell(_left_out(failures, len(files), name))


def _check_failures(failures: list[str], count: int, name: str) -> None:
    if len(failures) * TOLERATED > count:
        raise DataError(f"{_left_out(failures, count, name)}: more than one in {TOLERATED}")


def _left_out(failures: list[str], count: int, name: str) -> str:
    more = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    verb = "image" if len(failures) == 1 else "images"
    return f"{name}: {len(failures)} of {count:,} {verb} cannot be read: {', '.join(failures[:_NAMED])}{more}"
