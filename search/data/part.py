"""What every split of a data set is, whichever way its examples are had."""

from abc import ABC, abstractmethod
from typing import Any, Self

from torch import Tensor

# What a network's forward is called with: one tensor, or its arguments in order or by name.
Inputs = Tensor | tuple[Any, ...] | dict[str, Any]


class Part(ABC):
    """Examples with their targets, in an order any beginning of which is a fair sample.

    Attributes:
        name: ``"train"``, ``"validation"`` or ``"test"``.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def first(self, count: int) -> Self:
        """The first examples, `count` at most."""

    @abstractmethod
    def last(self, count: int) -> Self:
        """The last examples, `count` at most."""
