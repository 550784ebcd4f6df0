"""Mean and standard deviation of pixels, by which images are normalised."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import DataError


class Normalisation(NamedTuple):
    """What is subtracted from pixels scaled to [0, 1], and what they are then divided by; a number for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixel_statistics(images: Tensor) -> Normalisation:
    """Each channel's mean and standard deviation, of uint8 pixels (N, C, H, W) scaled to [0, 1], from its histogram."""
    value = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float((share * value).sum())
        means.append(mean)
        # A channel of one value alone, such as a blank alpha channel, stays what it is.
        deviations.append(math.sqrt(float((share * (value - mean) ** 2).sum())) or 1.0)
    return Normalisation(tuple(means), tuple(deviations))


def normalisation_of(value: Any, channels: int, stated: Normalisation | None) -> Normalisation | None:
    """The normalisation that `[data] normalisation` stands for; None where it is to be measured.

    Args:
        value: The key's value, None where it is not set.
        channels: Of the images.
        stated: What belongs to the baseline's published weights, None where it has none.

    Raises:
        DataError: If it is of another number of channels, or nothing is stated.
    """
    if (value is None and stated is None) or value == "measured":
        return None
    if value == "none":
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    found = (
        stated if value is None or value == "weights" else Normalisation(*(tuple(value[k]) for k in ("mean", "std")))
    )
    if found is None:
        raise DataError(
            'data.normalisation = "weights": nothing is stated for this network; give { mean = [...], std = [...] }'
        )
    if len(found.mean) != channels:
        raise DataError(f"data.normalisation has {len(found.mean)} channels, the images have {channels}")
    return found
