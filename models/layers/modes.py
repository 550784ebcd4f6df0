"""Training and evaluation mode, module by module; evaluation without gradients."""

from collections.abc import Iterator, Mapping
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


def modes_of(network: nn.Module) -> dict[str, bool]:
    """Module path → its mode."""
    return {path: module.training for path, module in network.named_modules()}


def set_modes(network: nn.Module, modes: Mapping[str, bool]) -> None:
    """Puts every module into the mode told; one without, as a layer that the code writes out, into its owner's."""
    for path, module in network.named_modules():
        module.training = modes[path if path in modes else path.rpartition(".")[0]]
