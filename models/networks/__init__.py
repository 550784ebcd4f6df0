"""Reference networks: VGG and ResNet for CIFAR-sized images, a small VGG for 8×8 digits."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .resnet import resnet20, resnet56
from .vgg import vgg16, vgg_digits


@dataclass(frozen=True)
class ReferenceNetwork:
    """A network that is known by its name.

    Attributes:
        factory: Builds it from ``width``, ``in_channels`` and ``num_classes``.
        input_shape: (C, H, W) of the images that its defaults are made for.
    """

    factory: Callable[..., nn.Module]
    input_shape: tuple[int, int, int]


REFERENCE_NETWORKS: dict[str, ReferenceNetwork] = {
    "vgg16": ReferenceNetwork(vgg16, (3, 32, 32)),
    "vgg_digits": ReferenceNetwork(vgg_digits, (1, 8, 8)),
    "resnet20": ReferenceNetwork(resnet20, (3, 32, 32)),
    "resnet56": ReferenceNetwork(resnet56, (3, 32, 32)),
}
