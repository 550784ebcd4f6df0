"""What a hand-written network is told by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Example(NamedTuple):
    """A network and its inputs.

    Attributes:
        build: makes the network with its usual initial weights.
        inputs: (batch, pixels by which images are enlarged) → a tensor, a tuple of positional or a dict of keyword
            arguments, the same each time; networks of one size ignore the second.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int, int], Any]


def random(*shape: int, seed: int = 1) -> Tensor:
    """Normal random numbers, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(channels: int, height: int, width: int, fixed: bool = False) -> Callable[[int, int], Tensor]:
    """Random images; `fixed` ones cannot be enlarged."""

    def make(batch: int, enlarged: int) -> Tensor:
        more = 0 if fixed else enlarged
        return random(batch, channels, height + more, width + more)

    return make
