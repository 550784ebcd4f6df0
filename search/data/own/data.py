"""Data of the user's own as a search sees them: checked batches of inputs and targets of any kind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....errors import DataError
from ....models.tracing.inputs import with_tensors
from ..augmentations import AUGMENTATIONS, names_of
from ..data import Augment, Data
from ..part import Inputs
from .checks import Check, check_finite
from .parts import LoaderPart, OwnPart


@dataclass(frozen=True, eq=False)
class OwnData(Data):
    """The splits of data of the user's own.

    Attributes:
        name: As the definition has it.
        train: The split to train on.
        validation: The split that trials are compared on.
        first: A batch of the train split, of two examples at least.
        check: Of the targets.
        arrange: Makes inputs by name the forward's arguments in order.
        mean: Per channel, of images that come as uint8; empty for other inputs.
        std: Likewise.
        flips: Whether such images may be mirrored.
        num_classes: Number of different labels, None where targets are none.
    """

    name: str
    train: OwnPart
    validation: OwnPart
    first: Inputs
    check: Check
    arrange: Callable[[Any], Inputs]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flips: bool = True
    num_classes: int | None = None

    def example(self, count: int) -> Inputs:
        """The first examples' inputs, repeated where there are fewer than wanted."""

        def repeated(x: Tensor) -> Tensor:
            return x.repeat(-(-count // len(x)), *(1,) * (x.dim() - 1))[:count]

        found: Inputs = with_tensors(self.first, repeated)
        return found

    def batches(
        self,
        part: OwnPart,
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augment = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> "OwnBatches":
        names = () if augment is True else names_of(augment)
        if names and not self.mean:
            raise DataError(
                f"augment = {names[0]!r} is for images as uint8 (N, C, H, W), which the data of {self.name} are not: "
                f"augment in your own data set"
            )
        return OwnBatches(self, part, batch_size, shuffle=shuffle, augment=names, seed=seed, drop_last=drop_last)


class OwnBatches:
    """Batches (inputs, targets) of a split; each pass as seed and the pass's number have it.

    Args:
        data: What they belong to.
        part: What is cut into batches.
        batch_size: Examples in a batch; a loader of its own kind has its own.
        shuffle: Whether each pass has an order of its own.
        augment: Names of augmentations, of images as uint8.
        seed: What the order, and random numbers in processes that read, depend on.
        drop_last: Leave a smaller last batch out.
    """

    def __init__(
        self,
        data: OwnData,
        part: OwnPart,
        batch_size: int,
        *,
        shuffle: bool,
        augment: tuple[str, ...],
        seed: int,
        drop_last: bool,
    ) -> None:
        self.data, self.part, self.batch_size = data, part, batch_size
        self.shuffle, self.augment, self.seed, self.drop_last = shuffle, augment, seed, drop_last
        self.epoch = 0

    def __len__(self) -> int:
        if isinstance(self.part, LoaderPart):
            return len(self.part.loader)
        whole, rest = divmod(len(self.part), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Inputs, Any]]:
        epoch = self.epoch
        self.epoch += 1
        state = np.random.SeedSequence([self.seed % 2**64, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        count = len(self.part)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        for batch in self.part.passes(order, self.batch_size, len(self), generator):
            inputs, targets = pair(batch, self.data.name)
            check_finite(inputs, "inputs", self.part.name)
            check_finite(targets, "targets", self.part.name)
            self.data.check(targets, self.part.name)
            yield self.data.arrange(self._finished(inputs, generator)), targets

    def _finished(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Images as uint8 augmented and normalised; other inputs as they are."""
        if not self.data.mean or not isinstance(inputs, Tensor):
            return inputs
        for name in self.augment:
            inputs = AUGMENTATIONS[name](inputs, self.data.flips, generator)
        return normalised(inputs, self.data.mean, self.data.std)


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images (N, C, H, W) uint8 as float32, scaled to [0, 1], less the mean, divided by the standard deviation."""
    centre, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return (images.float() / 255 - centre) / scale


def pair(batch: Any, name: str) -> tuple[Inputs, Any]:
    """A batch's inputs and targets.

    Raises:
        DataError: If it is something else.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = f"{len(batch)} values" if isinstance(batch, tuple | list) else type(batch).__name__
        raise DataError(f"items of {name} must be (inputs, targets), but are {kind}")
    inputs, targets = batch
    return tuple(inputs) if isinstance(inputs, list) else inputs, targets


def is_picture(inputs: Inputs) -> bool:
    """Whether inputs are images as uint8 (N, C, H, W), which are augmented and normalised as those of a folder."""
    return isinstance(inputs, Tensor) and inputs.dtype == torch.uint8 and inputs.dim() == 4
