"""What a hand-written network is told by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Inputs = Callable[[int, int], Any]


class Example(NamedTuple):
    """A network and its inputs.

    Attributes:
        build: makes the network with its usual initial weights.
        inputs: (batch, pixels by which images are enlarged) → a tensor, a tuple of positional or a dict of keyword
            arguments, the same each time; networks of one size ignore the second.
    """

    build: Callable[[], nn.Module]
    inputs: Inputs


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Normal random numbers, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(channels: int, height: int, width: int) -> Inputs:
    """Random images that can be enlarged."""
    return lambda batch, enlarged: normal(batch, channels, height + enlarged, width + enlarged)


def fixed(*shape: int) -> Inputs:
    """Random tensors of one shape for each example."""
    return lambda batch, enlarged: normal(batch, *shape)
