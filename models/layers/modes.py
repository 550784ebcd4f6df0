"""Training and evaluation mode, module by module."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def preserving_modes(network: nn.Module) -> Iterator[None]:
    """Puts every module's mode back at the end, however it ends: a network may be frozen in part."""
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
