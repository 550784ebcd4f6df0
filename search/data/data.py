"""What a search sees of any data set: never its test split."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from .part import Inputs, Part

Augment = bool | str | Sequence[str]


class BatchSource(Protocol):
    """Batches, pass after pass: inputs with targets, each pass as seed and the pass's number have it.

    A third part, where there is one, is what is known of each example beforehand.

    Attributes:
        epoch: Number of the next pass; set it to go on where an earlier run was.
    """

    epoch: int

    def __len__(self) -> int:
        """Batches of a pass."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """One pass."""


class Data(ABC):
    """The splits that a search sees.

    Attributes:
        name: The data set's name.
        num_classes: Number of different labels; None where the targets are no labels, or are not known to be.
        mean: Per channel, subtracted from pixels scaled to [0, 1]; empty for inputs that are taken as they come.
        std: Per channel, by which they are then divided; likewise.
        train: The split to train on.
        validation: The split that trials are compared on.
    """

    name: str
    num_classes: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Part
    validation: Part

    @abstractmethod
    def example(self, count: int) -> Inputs:
        """Inputs of the shape and type that the batches have, of so many examples."""

    @abstractmethod
    def batches(
        self,
        part: Any,
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augment = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> BatchSource:
        """Batches of one of the splits, or of a part of it.

        Args:
            part: What is cut into batches.
            batch_size: Examples in a batch.
            shuffle: Whether each pass has an order of its own.
            augment: How inputs are augmented.
            seed: What all random numbers depend on.
            drop_last: Leave a smaller last batch out.
        """
