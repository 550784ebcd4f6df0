"""One image file as a tensor of the size and the channels that a study asks for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# A JPEG that is much larger is decoded at a half, a quarter or an eighth, of at least so many times the size wanted.
_DRAFT = 2
# 16 bits to 8: 65535 / 257 = 255.
_SIXTEEN_BITS = 257


class Form(NamedTuple):
    """What images are brought to.

    Attributes:
        height: In pixels.
        width: Likewise.
        resize: A name in ``names.RESIZES``.
        greyscale: Whether they have one channel instead of three.
    """

    height: int
    width: int
    resize: str = "crop"
    greyscale: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return (1 if self.greyscale else 3, self.height, self.width)


def read_picture(path: Path, form: Form) -> Tensor:
    """An image (C, H, W) uint8, turned as its EXIF entry says; what an alpha channel says is dropped.

    Args:
        path: Of a file that Pillow reads: of 8 or 16 bits, grey, with a palette, in colour.
        form: What it is brought to.

    Raises:
        Exception: Whatever a damaged file leads to.
    """
    with Image.open(path) as file:
        largest = _DRAFT * max(form.height, form.width)
        file.draft("L" if form.greyscale else "RGB", (largest, largest))
        picture = _in_mode(ImageOps.exif_transpose(file), "L" if form.greyscale else "RGB")
    size = (form.width, form.height)
    if picture.size != size:
        picture = RESIZES[form.resize](picture, size)
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if form.greyscale else pixels.permute(2, 0, 1).contiguous()


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "I" or picture.mode.startswith("I;16"):  # Pillow would cut their values off at 255
        values = np.clip(np.asarray(picture).astype(np.int64), 0, 2**16 - 1)
        picture = Image.fromarray(((values + _SIXTEEN_BITS // 2) // _SIXTEEN_BITS).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which no range is known")
    if picture.mode == "P" and "transparency" in picture.info:  # Pillow warns of the direct way
        picture = picture.convert("RGBA")
    return picture if picture.mode == mode else picture.convert(mode)


RESIZES = {
    "crop": lambda picture, size: ImageOps.fit(picture, size, Image.Resampling.BILINEAR),
    "stretch": lambda picture, size: picture.resize(size, Image.Resampling.BILINEAR),
    "pad": lambda picture, size: ImageOps.pad(picture, size, Image.Resampling.BILINEAR, color=0),
}
