"""A convolutional auto-encoder for small images."""

from torch import Tensor, nn

from .arguments import check_arguments, initialise_convolutions, scaled


class AutoEncoder(nn.Module):
    """Strided convolutions down to a code of few channels at a quarter of the resolution, and up again.

    Args:
        widths: Channels of the two layers on either side.
        code: Channels of the code.
        channels: Channels of the images, whose height and width are multiples of 4.
    """

    def __init__(self, widths: tuple[int, int], *, code: int, channels: int) -> None:
        super().__init__()
        fine, coarse = widths
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, fine, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(fine),
            nn.ReLU(inplace=True),
            nn.Conv2d(fine, coarse, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(coarse),
            nn.ReLU(inplace=True),
            nn.Conv2d(coarse, code, kernel_size=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code, coarse, kernel_size=1, bias=False),
            nn.BatchNorm2d(coarse),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2, bias=False),
            nn.BatchNorm2d(fine),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(fine, fine, kernel_size=2, stride=2, bias=False),
            nn.BatchNorm2d(fine),
            nn.ReLU(inplace=True),
            nn.Conv2d(fine, channels, kernel_size=3, padding=1),
        )
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """The images (N, channels, H, W) again, from their code (N, code, H / 4, W / 4)."""
        return self.decoder(self.encoder(images))


def autoencoder(width: float = 1.0, in_channels: int = 1, code: int = 4) -> AutoEncoder:
    """A convolutional auto-encoder for small images.

    Args:
        width: Multiplier of every layer's channels (32, 64 at 1.0) but the code's.
        in_channels: Channels of the images, whose height and width are multiples of 4.
        code: Channels of the code at a quarter of the resolution.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_arguments(width, in_channels, code)
    return AutoEncoder((scaled(32, width), scaled(64, width)), code=code, channels=in_channels)
