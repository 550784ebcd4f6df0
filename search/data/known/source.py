"""What every data set is, whichever way it is kept."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Source(ABC):
    """A data set of images with a class each; a subclass for each way in which such sets are kept.

    Attributes:
        name: The name that a definition gives it.
        num_classes: Number of different labels, 0 … num_classes − 1.
        shape: (C, H, W) of its images, padding included.
        padding: Zeros added to each side of an image (28×28 becomes 32×32, enough for five max pools).
        flips: Whether a mirrored image still shows its class.
    """

    name: str
    num_classes: int
    shape: tuple[int, int, int]
    padding: int = 0
    flips: bool = False

    def read(self, root: Path, part: str) -> tuple[Tensor, Tensor]:
        """A part's images (N, C, H, W) uint8, padded, and labels (N,) int64.

        Args:
            root: The folder of the data sets.
            part: ``"train"`` or ``"test"``; the files of the other one are not touched.

        Raises:
            DataError: If the part cannot be had, or is damaged.
        """
        images, labels = self._read(root, part)
        return F.pad(images, (self.padding,) * 4) if self.padding else images, labels

    @abstractmethod
    def _read(self, root: Path, part: str) -> tuple[Tensor, Tensor]:
        """A part's images as they are kept, and labels."""
