"""Reference networks for small images: VGG, ResNet, a U-Net, an auto-encoder."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .autoencoder import autoencoder
from .resnet import resnet20, resnet56
from .unet import unet
from .vgg import vgg16, vgg_digits


@dataclass(frozen=True)
class ReferenceNetwork:
    """A network that is known by its name.

    Attributes:
        factory: Builds it from ``width``, ``in_channels`` and arguments of its own, ``num_classes`` for most.
        input_shape: (C, H, W) of the images that its defaults are made for.
    """

    factory: Callable[..., nn.Module]
    input_shape: tuple[int, int, int]


REFERENCE_NETWORKS: dict[str, ReferenceNetwork] = {
    "vgg16": ReferenceNetwork(vgg16, (3, 32, 32)),
    "vgg_digits": ReferenceNetwork(vgg_digits, (1, 8, 8)),
    "resnet20": ReferenceNetwork(resnet20, (3, 32, 32)),
    "resnet56": ReferenceNetwork(resnet56, (3, 32, 32)),
    "unet": ReferenceNetwork(unet, (1, 32, 32)),
    "autoencoder": ReferenceNetwork(autoencoder, (1, 8, 8)),
}
