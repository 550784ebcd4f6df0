"""The augmentations by name; a new one is one entry here and its name in ``names.AUGMENTATIONS``."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ...errors import DataError
from ...studies.definition.data_keys import augmentations
from .augmentation import augment

# Of images (N, C, H, W) uint8, whether they may be mirrored, and what random numbers are drawn from.
Augmentation = Callable[[Tensor, bool, torch.Generator], Tensor]


def names_of(value: bool | str | Sequence[str]) -> tuple[str, ...]:
    """The augmentations that a key's value stands for, one after another.

    Raises:
        DataError: If one of them is unknown.
    """
    try:
        return augmentations(value)
    except ValueError as error:
        raise DataError(f"augment {error}, but got augment={value!r}") from error


def shift_flip(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Images shifted by up to an eighth of their size (4 pixels of 32) and mirrored with probability one half."""
    return augment(images, max_shift=min(images.shape[2:]) // 8, flips=flips, generator=generator)


def flip(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Images mirrored with probability one half."""
    return augment(images, max_shift=0, flips=flips, generator=generator)


def random_resized_crop(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """A part of each image at its size, as torchvision draws it by default, and mirrored likewise."""
    from torchvision.transforms import v2  # a second's import

    crop = v2.RandomResizedCrop(list(images.shape[2:]), antialias=True)
    mirror = v2.RandomHorizontalFlip(0.5 if flips else 0.0)
    with _drawing_from(generator):
        return torch.stack([mirror(crop(image)) for image in images])


def cut_out(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Images with a black square somewhere in them, a quarter of their area (DeVries and Taylor, 2017: 16 of 32)."""
    height, width = images.shape[2:]
    side = max(1, round(math.sqrt(height * width) / 2))
    side_y, side_x = min(side, height), min(side, width)
    top = torch.randint(0, height - side_y + 1, (len(images), 1), generator=generator)
    left = torch.randint(0, width - side_x + 1, (len(images), 1), generator=generator)
    rows, columns = torch.arange(height) - top, torch.arange(width) - left
    inside_y, inside_x = (rows >= 0) & (rows < side_y), (columns >= 0) & (columns < side_x)
    return images.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0)


def trivial(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Each image after one random operation of random strength: torchvision's TrivialAugmentWide."""
    from torchvision.transforms import v2

    transform = v2.TrivialAugmentWide()
    with _drawing_from(generator):
        return torch.stack([transform(image) for image in images])


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": lambda images, flips, generator: images,
    "flip": flip,
    "shift-flip": shift_flip,
    "random-resized-crop": random_resized_crop,
    "cut-out": cut_out,
    "trivial": trivial,
}


# Those after which a mask still lies over its image: what moves it moves both alike.
KEEP_MASKS = ("none", "flip", "shift-flip", "cut-out")
# And those that move an image, so that its mask moves too.
MOVING = ("flip", "shift-flip")
# Those after which an image is what it was or its mirror image: what is known of both is known of it.
STILL = ("none", "flip")


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Torch's own random numbers follow from the generator's; afterwards they go on as if nothing had been drawn."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
