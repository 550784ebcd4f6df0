"""Networks that a program hands over as objects: known by a digest of what they are, in this process alone."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...errors import NetworkError
from ..layers.copying import deep_copy

PREFIX = "given:"
_GIVEN: dict[str, nn.Module] = {}


def give(network: nn.Module) -> str:
    """The name by which a network's copies are built from here on, ``given:`` and its digest.

    Args:
        network: any; it is copied now, to the CPU, and later changes to it do not count.

    Raises:
        NetworkError: if it is no network.
    """
    if not isinstance(network, nn.Module):
        raise NetworkError(f"network must be a torch.nn.Module, but is {type(network).__name__}")
    name = f"{PREFIX}{digest_of_module(network)}"
    if name not in _GIVEN:
        _GIVEN[name] = deep_copy(network).cpu().train()
    return name


def given_factory(name: str) -> Callable[..., nn.Module]:
    """The function that copies a network that was given.

    Args:
        name: that `give` returned.

    Raises:
        NetworkError: if none of that name was given in this process.
    """
    if name not in _GIVEN:
        raise NetworkError(
            f"network {name!r} was given as an object by another process, or is another one now; "
            f"give it again, or name a factory in its place: path/to/file.py:FACTORY"
        )

    def build(**arguments: Any) -> nn.Module:
        if arguments:
            raise NetworkError(f"a network that is given takes no arguments, but got {', '.join(sorted(arguments))}")
        return deep_copy(_GIVEN[name])

    return build


def digest_of_module(network: nn.Module) -> str:
    """The first 16 hexadecimal digits of SHA-256 over a network's structure, parameters and buffers."""
    kinds = [
        f"{path}: {type(module).__module__}.{type(module).__qualname__}" for path, module in network.named_modules()
    ]
    digest = hashlib.sha256("\n".join([*kinds, repr(network)]).encode())
    for path, tensor in sorted(network.state_dict().items()):
        digest.update(f"{path} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
