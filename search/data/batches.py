"""Splits of images, in memory or not, and normalised, augmented batches of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from .augmentations import AUGMENTATIONS, KEEP_MASKS, MOVING, STILL, names_of
from .part import Part


class Pictures(Part):
    """A split of images with their labels.

    Attributes:
        labels: (N,) int64.
        flips: Whether a mirrored image still shows its class, so that augmenting may mirror it.
    """

    labels: Tensor
    flips: bool

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of an image."""

    @abstractmethod
    def read(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of indices, its images (n, C, H, W) uint8 and labels (n,)."""

    @abstractmethod
    def part(self, chosen: slice) -> Self:
        """Those of the examples."""

    def first(self, count: int) -> Self:
        return self.part(slice(0, count))

    def last(self, count: int) -> Self:
        return self.part(slice(max(0, len(self) - count), None))


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Split(Pictures):
    """Images in memory, with their labels.

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

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    def read(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in batches:
            yield self.images.index_select(0, chosen), self.labels[chosen]

    def part(self, chosen: slice) -> Self:
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])


class Batches:
    """Batches of a split as normalised float32 images (N, C, H, W) with labels (N,).

    Each pass draws its order and its augmentation from the seed and the pass's number alone. ``epoch`` is the number
    of the next pass; set it to go on where an earlier run was.

    Args:
        split: What is cut into batches.
        batch_size: Images in a batch, at least 1; the last one may be smaller.
        mean: Per channel, subtracted from images scaled to [0, 1].
        std: Per channel, by which they are then divided.
        shuffle: Whether each pass has an order of its own.
        augment: How images are augmented, by names of ``names.AUGMENTATIONS``; true is "shift-flip".
        seed: What all random numbers depend on.
        drop_last: Leave a smaller last batch out.
        known: (N, 2, *) what is known of each example as it is and mirrored; the batches have it as a third part.

    Raises:
        DataError: If a value is out of its range, or no batch would remain.
    """

    def __init__(
        self,
        split: Pictures,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle: bool,
        augment: bool | str | Sequence[str],
        seed: int,
        drop_last: bool = False,
        known: Tensor | None = None,
    ) -> None:
        channels = split.channels
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, but got batch_size={batch_size!r}")
        if len(mean) != channels or len(std) != channels:
            raise DataError(f"mean and std must have {channels} values, but got mean={mean!r}, std={std!r}")
        if len(split) < (batch_size if drop_last else 1):
            raise DataError(f"the {split.name} split has {len(split)} examples: no whole batch of {batch_size}")
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augment = names_of(augment)
        if split.labels.dim() > 1 and (moved := set(self.augment) - set(KEEP_MASKS)):
            raise DataError(
                f"augment = {moved.pop()!r} would move images away from their masks: with masks it may be "
                f"{' or '.join(KEEP_MASKS)}"
            )
        if known is not None and (other := set(self.augment) - set(STILL)):
            raise DataError(f"augment = {other.pop()!r} makes other images than those that something is known of")
        self.seed = seed
        self.drop_last = drop_last
        self.known = known
        self.epoch = 0
        # (x / 255 − mean) / std = x · scale + offset
        self._scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
        self._offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        # A generator begins with its first batch: iterators that Lightning makes and drops do not count as passes.
        epoch = self.epoch
        self.epoch += 1
        state = np.random.SeedSequence([self.seed % 2**64, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        count = len(self.split)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        chosen = order.split(self.batch_size)[: len(self)]
        for indices, (images, labels) in zip(chosen, self.split.read(chosen), strict=True):
            mirrored = torch.tensor([0, 1]).expand(len(images), 1, 1, 2)
            for name in self.augment:
                drawn = generator.get_state()
                images = AUGMENTATIONS[name](images, self.split.flips, generator)
                if name in MOVING:
                    again = self._again(name, drawn)
                    mirrored = mirrored if self.known is None else again(mirrored)
                    labels = again(labels[:, None])[:, 0] if labels.dim() > 1 else labels
            scaled = images.float().mul_(self._scale).add_(self._offset)
            known = () if self.known is None else (self.known[indices, mirrored[:, 0, 0, 0]],)
            yield scaled, labels, *known

    def _again(self, name: str, drawn: Tensor) -> Callable[[Tensor], Tensor]:
        """What moves as the images have moved that were augmented with this state of the generator."""

        def moved(images: Tensor) -> Tensor:
            generator = torch.Generator()
            generator.set_state(drawn)
            return AUGMENTATIONS[name](images, self.split.flips, generator)

        return moved
