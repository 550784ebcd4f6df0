"""CIFAR's residual networks: ResNet-20 and ResNet-56 of He et al. (2016), section 4.2."""

import torch
from torch import Tensor, nn

from .arguments import check_arguments, initialise_convolutions, scaled


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm whose result is added to the block's input.

    Where the block changes resolution or channels, a 1×1 convolution with BatchNorm brings the input to the same shape
    (the paper's option B). Its option A pads with zero channels, which would hard-code the widths.

    Args:
        in_channels: Channels of the block's input.
        out_channels: Channels of both convolutions.
        stride: Stride of the first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output (N, out_channels, H / stride, W / stride) of x (N, in_channels, H, W)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(residual + self.shortcut(x))


class ResNet(nn.Module):
    """A 3×3 convolution, three stages of basic blocks at falling resolution, a global average pool, one Linear.

    Args:
        blocks: Basic blocks in each of the three stages; the depth is 6 × blocks + 2.
        widths: Channels of the three stages.
        in_channels: Channels of the input images, of any height and width (CIFAR's are 32×32).
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self, blocks: int, widths: tuple[int, int, int] = (16, 32, 64), *, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(blocks, widths[0], widths[0], stride=1)
        self.layer2 = _stage(blocks, widths[0], widths[1], stride=2)
        self.layer3 = _stage(blocks, widths[1], widths[2], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet20(width: float = 1.0, in_channels: int = 3, num_classes: int = 10) -> ResNet:
    """CIFAR's ResNet-20 (0.27 M parameters).

    Args:
        width: Multiplier of every layer's channels (16, 32, 64 at 1.0).
        in_channels: Channels of the input images, of any height and width (CIFAR's are 32×32).
        num_classes: Outputs of the classifier.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return _build(3, width, in_channels, num_classes)


def resnet56(width: float = 1.0, in_channels: int = 3, num_classes: int = 10) -> ResNet:
    """CIFAR's ResNet-56 (0.85 M parameters).

    Args:
        width: Multiplier of every layer's channels (16, 32, 64 at 1.0).
        in_channels: Channels of the input images, of any height and width (CIFAR's are 32×32).
        num_classes: Outputs of the classifier.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return _build(9, width, in_channels, num_classes)


def _stage(blocks: int, in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride=stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))


def _build(blocks: int, width: float, in_channels: int, num_classes: int) -> ResNet:
    check_arguments(width, in_channels, num_classes)
    widths = (scaled(16, width), scaled(32, width), scaled(64, width))
    return ResNet(blocks, widths, in_channels=in_channels, num_classes=num_classes)
