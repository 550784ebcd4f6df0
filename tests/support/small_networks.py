"""What networks of a few layers are written with where a test is about what happens to their channels."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from branchfold.models import channel_groups


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def reasons(network: nn.Module, x: Tensor) -> dict[str, str]:
    """Group → why it is fixed, "" where it is not."""
    return {group.name: group.reason for group in channel_groups(network, x)}


class Widths(nn.Module):
    """A module whose attributes are widths.

    Args:
        forward: of the module and its input.
        layers: its submodules by name.
        numbers: its other attributes.
    """

    def __init__(self, forward: Callable[..., Tensor], layers: dict[str, nn.Module], **numbers: Any) -> None:
        super().__init__()
        self.compute = forward
        for name, value in {**layers, **numbers}.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)
