"""Random shifts and horizontal flips of whole batches of images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, *, max_shift: int, flips: bool, generator: torch.Generator) -> Tensor:
    """The images, each shifted at random and, if asked for, mirrored with probability one half.

    Shifts are uniform over the whole pixels from −max_shift to max_shift in both directions: what cropping at random
    from the zero-padded image gives.

    Args:
        images: (N, C, H, W), of any dtype; 0 is what moves in at the borders.
        max_shift: Largest shift in pixels, at least 0.
        flips: Whether images are mirrored as well.
        generator: What the random numbers are drawn from.
    """
    count = len(images)
    shifts = torch.randint(-max_shift, max_shift + 1, (2, count), generator=generator)
    mirrored = torch.zeros(count, dtype=torch.bool)
    if flips:
        mirrored = torch.rand(count, generator=generator) < 0.5
    return shift_and_mirror(images, shifts[0], shifts[1], mirrored)


def shift_and_mirror(images: Tensor, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
    """Each image shifted by its own number of pixels, with zeros moving in, and then mirrored if so marked.

    Args:
        images: (N, C, H, W), of any dtype.
        down: (N,) whole pixels, negative ones upwards.
        right: (N,) whole pixels, negative ones to the left.
        mirrored: (N,) bool, whether the shifted image is flipped left to right.
    """
    count, channels, height, width = images.shape
    pad = int(torch.cat([down, right]).abs().max()) if count else 0
    padded_NCP = F.pad(images, (pad, pad, pad, pad)).flatten(2)

    columns_W = torch.arange(width)
    rows_NH = torch.arange(height) + (pad - down)[:, None]
    columns_NW = torch.where(mirrored[:, None], columns_W.flip(0), columns_W) + (pad - right)[:, None]
    places_NHW = rows_NH[:, :, None] * (width + 2 * pad) + columns_NW[:, None, :]

    # One gather serves all channels: an order of magnitude faster than indexing rows and columns.
    places_NCP = places_NHW.reshape(count, 1, height * width).expand(-1, channels, -1)
    return padded_NCP.gather(2, places_NCP).view_as(images)
