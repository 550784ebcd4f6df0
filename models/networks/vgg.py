"""VGG for small images: plain stacks of convolution, BatchNorm and ReLU with one Linear behind them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .arguments import check_arguments, initialise_convolutions, scaled

POOL = "M"

# Configuration D of Simonyan and Zisserman (2015), whose three large Linear layers become a single one for CIFAR.
VGG16_LAYOUT: tuple[int | str, ...] = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, POOL),
    *(512, 512, 512, POOL),
    *(512, 512, 512, POOL),
)
DIGITS_LAYOUT: tuple[int | str, ...] = (32, 32, POOL, 64, 64, POOL, 128, 128)


class VGG(nn.Module):
    """A stack of 3×3 convolutions, each followed by BatchNorm and ReLU, with max pools between and one Linear behind.

    The convolutions have no bias: the BatchNorm behind each would take it away again.

    Args:
        layout: Output channels of each convolution, ``"M"`` for a 2×2 max pool.
        in_channels: Channels of the input images.
        num_classes: Outputs of the classifier.
        positions: Pixels (height × width) that the last layer of ``features`` leaves.
    """

    def __init__(
        self, layout: Sequence[int | str], *, in_channels: int = 3, num_classes: int = 10, positions: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for entry in layout:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [
                nn.Conv2d(channels, entry, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(entry),
                nn.ReLU(inplace=True),
            ]
            channels = entry
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * positions, num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, num_classes) of images (N, in_channels, H, W)."""
        return self.classifier(torch.flatten(self.features(images), 1))


def vgg16(width: float = 1.0, in_channels: int = 3, num_classes: int = 10) -> VGG:
    """VGG-16 for 32×32 images: 13 convolutions, five max pools, one Linear.

    Args:
        width: Multiplier of every layer's channels (64 to 512 at 1.0).
        in_channels: Channels of the input images, which are 32 to 63 pixels high and wide.
        num_classes: Outputs of the classifier.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return _build(VGG16_LAYOUT, width, in_channels, num_classes, positions=1)


def vgg_digits(width: float = 1.0, in_channels: int = 1, num_classes: int = 10) -> VGG:
    """A small VGG for 8×8 images: six convolutions, two max pools, one Linear behind 2×2 pixels.

    Args:
        width: Multiplier of every layer's channels (32 to 128 at 1.0).
        in_channels: Channels of the input images, which are 8 to 11 pixels high and wide.
        num_classes: Outputs of the classifier.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return _build(DIGITS_LAYOUT, width, in_channels, num_classes, positions=4)


def _build(layout: Sequence[int | str], width: float, in_channels: int, num_classes: int, *, positions: int) -> VGG:
    check_arguments(width, in_channels, num_classes)
    narrowed = [entry if isinstance(entry, str) else scaled(entry, width) for entry in layout]
    return VGG(narrowed, in_channels=in_channels, num_classes=num_classes, positions=positions)
