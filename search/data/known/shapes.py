"""Shapes drawn on noise, each pixel with its class: an embedded data set for segmentation."""

from pathlib import Path

import torch
from torch import Tensor

from .source import Source

# How many are drawn for a part, and from which seed, whatever a study's.
_PARTS = {"train": (2500, 0), "test": (500, 1)}
SIZE = 32
# What a pixel may be.
CLASSES = ("background", "disc", "square", "triangle")
_LEAST, _MOST = 4, 8  # half the size of a shape, in pixels
_CONTRAST, _NOISE = 90.0, 40.0  # of 255


class Shapes(Source):
    """Drawn anew whenever they are read, always alike; the labels are masks."""

    def _read(self, root: Path, part: str) -> tuple[Tensor, Tensor]:
        count, seed = _PARTS[part]
        return draw_shapes(count, seed=seed)


def draw_shapes(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 32, 32) uint8 and their masks (N, 32, 32) int64, the same on every call.

    One to three shapes lie over each other on grey noise, brighter or darker than it; a mask says what is on top.

    Args:
        count: N.
        seed: what is drawn depends on.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count, 3, 1, 1), generator=generator)

    kinds, half = drawn(1, len(CLASSES)), drawn(_LEAST, _MOST + 1)
    rows, columns = drawn(_LEAST, SIZE - _LEAST), drawn(_LEAST, SIZE - _LEAST)
    brighter, present = 2 * drawn(0, 2) - 1, torch.arange(3).view(1, 3, 1, 1) < drawn(1, 4)[:, :1]
    line = torch.arange(SIZE)
    down, across = line.view(1, 1, -1, 1) - rows, line.view(1, 1, 1, -1) - columns
    inside = torch.where(kinds == 1, down.square() + across.square() <= half.square(), _square(down, across, half))
    inside = torch.where(kinds == 3, _square(down, across, half) & (2 * across.abs() <= down + half), inside) & present
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    levels = torch.zeros(count, SIZE, SIZE)
    for i in range(3):
        masks = torch.where(inside[:, i], kinds[:, i], masks)
        levels = torch.where(inside[:, i], _CONTRAST * brighter[:, i], levels)
    noise = _NOISE * torch.randn(count, SIZE, SIZE, generator=generator)
    return (127.5 + levels + noise).round().clamp(0, 255).to(torch.uint8)[:, None], masks


def _square(down: Tensor, across: Tensor, half: Tensor) -> Tensor:
    return (down.abs() <= half) & (across.abs() <= half)
