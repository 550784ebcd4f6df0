"""Where the images come from: scikit-learn's digits, local files, or a download by torchvision."""

import contextlib
import gzip
import io
import logging
import os
import shutil
import socket
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
UNSIGNED_BYTE = 0x08  # an idx file's code for the type of its values

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A data set as it is published.

    Attributes:
        num_classes: Number of different labels, 0 … num_classes − 1.
        flips: Whether a mirrored image still shows its class.
        torchvision_name: The data set's class in torchvision, which knows how to download it.
        folder: What its files lie in under the data root.
        padding: Zeros added to each side of an image (28×28 becomes 32×32, enough for five max pools).
    """

    num_classes: int
    flips: bool = False
    torchvision_name: str = ""
    folder: str = ""
    padding: int = 0


SOURCES: dict[str, Source] = {
    "digits": Source(10),
    "mnist": Source(10, False, "MNIST", "MNIST/raw", padding=2),
    "fashion-mnist": Source(10, True, "FashionMNIST", "FashionMNIST/raw", padding=2),
    "cifar10": Source(10, True, "CIFAR10", "cifar-10-batches-py"),
    "cifar100": Source(100, True, "CIFAR100", "cifar-100-python"),
}


def read_images(name: str, root: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    """Return a published data set's images (N, C, H, W) uint8 and labels (N,) int64.

    Args:
        name: A name in ``SOURCES``, but not ``digits``, which has no published test part.
        root: The folder that holds ``SOURCES[name].folder``; it is created by a download that succeeds.
        train: The published training part rather than the test part.

    Raises:
        DataError: If the files are neither there nor to be downloaded, or are damaged.
    """
    source = SOURCES[name]
    if name == "fashion-mnist" and not (root / source.folder).exists() and DEBIAN_FASHION_MNIST.is_dir():
        return _read(name, DEBIAN_FASHION_MNIST, train=train)
    if not (root / source.folder).exists():
        _download(name, root)
    return _read(name, root / source.folder, train=train)


def read_digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1,797 digits (N, 1, 8, 8) uint8, their range 0 … 16 spread over 0 … 255, and labels."""
    from sklearn.datasets import load_digits  # a second's import

    images, labels = load_digits(return_X_y=True)
    scaled = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))


def read_idx(path: Path) -> Tensor:
    """Return the array of an idx file, plain or gzipped (http://yann.lecun.com/exdb/mnist), as uint8.

    Args:
        path: The file's path without ``.gz``; where there is no such file, the one with ``.gz`` is read.

    Raises:
        ValueError: If the file is not an idx file of unsigned bytes, or too short or too long for its header.
        OSError: If there is no such file, or it is not readable.
    """
    packed = path.with_name(path.name + ".gz")
    unpacked = path.exists() or not packed.exists()
    content = path.read_bytes() if unpacked else gzip.decompress(packed.read_bytes())
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(f"{path.name} is not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(np.int64)
    if len(shape) != content[3] or len(content) - start != shape.prod():
        raise ValueError(f"{path.name} has {max(0, len(content) - start)} values, its header says {shape.tolist()}")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).copy()).reshape(shape.tolist())


def _read(name: str, folder: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    try:
        if name.startswith("cifar"):
            dataset = _torchvision_dataset(name, folder.parent, train=train)
            images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
            labels = torch.tensor(dataset.targets, dtype=torch.int64)
        else:
            part = "train" if train else "t10k"
            images = read_idx(folder / f"{part}-images-idx3-ubyte").unsqueeze(1)
            labels = read_idx(folder / f"{part}-labels-idx1-ubyte").long()
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images have {len(labels)} labels")
        if int(labels.max()) >= SOURCES[name].num_classes:
            raise ValueError(f"label {int(labels.max())} of {SOURCES[name].num_classes} classes")
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise DataError(
            f"{name} in {folder} is incomplete or damaged ({_line(error)}); "
            f"move that folder away to download it again, or name another --data-root"
        ) from error
    return images, labels


def _torchvision_dataset(name: str, root: Path, *, train: bool, download: bool = False) -> Any:
    from torchvision import datasets  # a second's import

    with warnings.catch_warnings():
        # The CIFAR pickles predate NumPy 2, which warns about how their dtypes are spelt.
        warnings.simplefilter("ignore")
        return getattr(datasets, SOURCES[name].torchvision_name)(root, train=train, download=download)


def _download(name: str, root: Path) -> None:
    """Download a data set beside the root and move it there when it is whole: a failure leaves nothing behind."""
    target = root / SOURCES[name].folder
    try:
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(f"{root} is no folder")
        existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
        staging = Path(tempfile.mkdtemp(prefix=".branchfold-download-", dir=existing))
        try:
            logger.info("downloading %s to %s", name, root)
            with _quiet(), _timeout(DOWNLOAD_TIMEOUT):
                _torchvision_dataset(name, staging, train=True, download=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(staging / SOURCES[name].folder, target)
            except OSError:
                if not target.exists():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except Exception as error:
        raise DataError(
            f"{name} is not in {root.absolute()} and cannot be downloaded ({_line(error)}); "
            f"name the folder that holds {SOURCES[name].folder} with --data-root"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
