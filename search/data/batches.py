"""A split of a data set in memory, and normalised, augmented batches of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from .augmentation import augment


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Split:
    """Images with their labels.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        name: ``"train"``, ``"validation"`` or ``"test"``.
        flips: Whether a mirrored image still shows its class, so that augmenting may mirror it.
    """

    images: Tensor
    labels: Tensor
    name: str
    flips: bool = False

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """Batches of a split as normalised float32 images (N, C, H, W) with labels (N,): a data loader in one process.

    Each pass draws its order and its augmentation from the seed and the pass's number alone. ``epoch`` is the number
    of the next pass; set it to go on where an earlier run was.

    Args:
        split: What is cut into batches.
        batch_size: Images in a batch, at least 1; the last one may be smaller.
        mean: Per channel, subtracted from images scaled to [0, 1].
        std: Per channel, by which they are then divided.
        shuffle: Whether each pass has an order of its own.
        augment: Whether images are shifted by up to an eighth of their size (4 pixels of 32) and, where the split
            allows it, mirrored.
        seed: What all random numbers depend on.
        drop_last: Leave a smaller last batch out.

    Raises:
        DataError: If a value is out of its range, or no batch would remain.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle: bool,
        augment: bool,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        channels = split.images.shape[1]
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, but got batch_size={batch_size!r}")
        if len(mean) != channels or len(std) != channels:
            raise DataError(f"mean and std must have {channels} values, but got mean={mean!r}, std={std!r}")
        if len(split) < (batch_size if drop_last else 1):
            raise DataError(f"the {split.name} split has {len(split)} examples: no whole batch of {batch_size}")
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augment = augment
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        # (x / 255 − mean) / std = x · scale + offset
        self._scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
        self._offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator begins with its first batch: iterators that Lightning makes and drops do not count as passes.
        epoch = self.epoch
        self.epoch += 1
        state = np.random.SeedSequence([self.seed % 2**64, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        for chosen in order.split(self.batch_size)[: len(self)]:
            images = self.split.images.index_select(0, chosen)
            if self.augment:
                max_shift = min(images.shape[2:]) // 8
                images = augment(images, max_shift=max_shift, flips=self.split.flips, generator=generator)
            yield images.float().mul_(self._scale).add_(self._offset), self.split.labels[chosen]
