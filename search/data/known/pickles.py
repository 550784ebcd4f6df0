"""Data sets kept as the pickles that torchvision reads: CIFAR-10 and CIFAR-100."""

from pathlib import Path

import torch
from torch import Tensor

from .published import Published


class TorchvisionPickles(Published):
    """A data set of colour images; torchvision checks the files' digests before it unpickles them."""

    def _files(self, folder: Path, part: str) -> tuple[Tensor, Tensor]:
        dataset = self._torchvision(folder.parent, part)
        images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(dataset.targets, dtype=torch.int64)
