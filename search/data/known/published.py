"""Data sets that are published as files: found under the data root or downloaded there, whole or not at all."""

import contextlib
import io
import logging
import os
import shutil
import socket
import tempfile
import warnings
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ....errors import DataError, one_line
from .source import Source

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published(Source):
    """A data set with a published training part and a test part, which torchvision knows how to download.

    Attributes:
        torchvision_name: The data set's class in torchvision.
        folder: What its files lie in under the data root.
    """

    torchvision_name: str = ""
    folder: str = ""

    @abstractmethod
    def _files(self, folder: Path, part: str) -> tuple[Tensor, Tensor]:
        """A part's images and labels from the files in a folder; anything may be raised if they are damaged."""

    def _read(self, root: Path, part: str) -> tuple[Tensor, Tensor]:
        folder = self._found(root.expanduser())
        try:
            images, labels = self._files(folder, part)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images have {len(labels)} labels")
            if int(labels.max()) >= self.num_classes:
                raise ValueError(f"label {int(labels.max())} of {self.num_classes} classes")
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
            raise DataError(
                f"{self.name} in {folder} is incomplete or damaged ({one_line(error, whole=True)}); "
                f"move that folder away to download it again, or name another --data-root"
            ) from error
        return images, labels

    def _found(self, root: Path) -> Path:
        """The folder of the files, which are downloaded if they are not there."""
        folder = root / self.folder
        if not folder.exists():
            self._download(root)
        return folder

    def _download(self, root: Path) -> None:
        """Download a data set beside the root and move it there when it is whole: a failure leaves nothing behind."""
        target = root / self.folder
        try:
            if root.exists() and not root.is_dir():
                raise NotADirectoryError(f"{root} is no folder")
            existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
            staging = Path(tempfile.mkdtemp(prefix=".branchfold-download-", dir=existing))
            try:
                logger.info("downloading %s to %s", self.name, root)
                with _quiet(), _timeout(DOWNLOAD_TIMEOUT):
                    self._torchvision(staging, "train", download=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.rename(staging / self.folder, target)
                except OSError:
                    if not target.exists():  # else another process was faster
                        raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except Exception as error:
            raise DataError(
                f"{self.name} is not in {root.absolute()} and cannot be downloaded ({one_line(error, whole=True)}); "
                f"name the folder that holds {self.folder} with --data-root"
            ) from error

    def _torchvision(self, root: Path, part: str, *, download: bool = False) -> Any:
        from torchvision import datasets  # a second's import

        with warnings.catch_warnings():
            # The CIFAR pickles predate NumPy 2, which warns about how their dtypes are spelt.
            warnings.simplefilter("ignore")
            return getattr(datasets, self.torchvision_name)(root, train=part == "train", download=download)


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
