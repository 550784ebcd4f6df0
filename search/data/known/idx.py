"""Data sets kept as idx files, plain or gzipped: MNIST and its like."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .published import Published

UNSIGNED_BYTE = 0x08  # an idx file's code for the type of its values


@dataclass(frozen=True)
class IdxFiles(Published):
    """A data set of grey images as four idx files.

    Attributes:
        packaged: Where an operating system's package puts the files; looked at where the data root has none.
    """

    packaged: Path | None = None

    def _found(self, root: Path) -> Path:
        if self.packaged is not None and not (root / self.folder).exists() and self.packaged.is_dir():
            return self.packaged
        return super()._found(root)

    def _files(self, folder: Path, part: str) -> tuple[Tensor, Tensor]:
        prefix = "train" if part == "train" else "t10k"
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte").unsqueeze(1)
        return images, read_idx(folder / f"{prefix}-labels-idx1-ubyte").long()


def read_idx(path: Path) -> Tensor:
    """The array of an idx file, plain or gzipped (http://yann.lecun.com/exdb/mnist), as uint8.

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
