"""What the reference networks share: their arguments' checks, scaled widths, the initial weights."""

import math

from torch import nn


def check_arguments(width: float, in_channels: int, num_classes: int) -> None:
    """Check the three arguments that every reference network takes.

    Args:
        width: Multiplier of every layer's channels, above 0.
        in_channels: Channels of the input images, at least 1.
        num_classes: Outputs of the classifier, at least 1.

    Raises:
        ValueError: If one of them is of another type or out of its range.
    """
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width < math.inf:
        raise ValueError(f"width must be a finite number above 0, but got width={width!r}")
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, but got {name}={value!r}")


def scaled(channels: int, width: float) -> int:
    """``channels × width`` rounded to a whole number, at least 1."""
    return max(1, round(channels * width))


def initialise_convolutions(network: nn.Module) -> None:
    """Draw all convolution weights anew, He-normal over the fan-out (He et al. 2015, as torchvision's networks do)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
