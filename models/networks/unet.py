"""A small U-Net: an encoder and a decoder with a connection at each resolution (Ronneberger et al., 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arguments import check_arguments, initialise_convolutions, scaled


class DoubleConvolution(nn.Sequential):
    """Two 3×3 convolutions, each with BatchNorm and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """Three resolutions down and up again; each upper one is concatenated with what came down there.

    Args:
        widths: Channels at the three resolutions.
        in_channels: Channels of the input images, whose height and width are multiples of 4.
        num_classes: Classes of a pixel.
    """

    def __init__(self, widths: tuple[int, int, int], *, in_channels: int = 1, num_classes: int = 4) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down1 = DoubleConvolution(in_channels, fine)
        self.down2 = DoubleConvolution(fine, middle)
        self.bottom = DoubleConvolution(middle, coarse)
        self.up2 = nn.ConvTranspose2d(coarse, middle, kernel_size=2, stride=2)
        self.merge2 = DoubleConvolution(2 * middle, middle)
        self.up1 = nn.ConvTranspose2d(middle, fine, kernel_size=2, stride=2)
        self.merge1 = DoubleConvolution(2 * fine, fine)
        self.head = nn.Conv2d(fine, num_classes, kernel_size=1)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, num_classes, H, W) of images (N, in_channels, H, W)."""
        fine = self.down1(images)
        middle = self.down2(F.max_pool2d(fine, 2))
        coarse = self.bottom(F.max_pool2d(middle, 2))
        middle = self.merge2(torch.cat([middle, self.up2(coarse)], dim=1))
        fine = self.merge1(torch.cat([fine, self.up1(middle)], dim=1))
        return self.head(fine)


def unet(width: float = 1.0, in_channels: int = 1, num_classes: int = 4) -> UNet:
    """A U-Net of three resolutions for small images (0.12 M parameters).

    Args:
        width: Multiplier of every layer's channels (16, 32, 64 at 1.0).
        in_channels: Channels of the input images, whose height and width are multiples of 4.
        num_classes: Classes of a pixel.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_arguments(width, in_channels, num_classes)
    fine, middle, coarse = (scaled(channels, width) for channels in (16, 32, 64))
    return UNet((fine, middle, coarse), in_channels=in_channels, num_classes=num_classes)
