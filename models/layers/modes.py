"""Training and evaluation mode, module by module; evaluation without gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
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


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode and without gradients; each module's mode is restored."""
    with preserving_modes(network), torch.no_grad():
        network.eval()
        yield network
