"""A fingerprint of everything that a network and the random generators hold, to see what a tool changed."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ATOMS = (bool, int, float, complex, str, bytes, type(None))


def fingerprint(network: nn.Module) -> dict[str, str]:
    """What is held, told by where: parameters, buffers, hooks, attributes, modes, and the states of random numbers."""
    held = {
        f"{path or 'the network'}: {key}": _told(value)
        for path, module in network.named_modules(remove_duplicate=False)
        for key, value in _attributes(module)
    }
    numbers = np.random.get_state()  # the generator that older code shares
    states = {"torch": torch.get_rng_state(), "random": random.getstate(), "numpy": numbers}
    return held | {f"random state: {name}": _told(state) for name, state in states.items()}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Where something changed, appeared or went."""
    return [place for place in before | after if before.get(place) != after.get(place)]


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield "class", type(module)
    for key, value in module.__dict__.items():
        if key in ("_parameters", "_buffers", "_modules"):
            yield key, [(name, id(held)) for name, held in value.items()]
            yield from ((f"{key}.{name}", held) for name, held in value.items() if not isinstance(held, nn.Module))
        else:
            yield key, value


def _told(value: Any, depth: int = 4) -> str:
    if isinstance(value, Tensor):
        content = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
        kind = (type(value), value.shape, value.dtype, value.requires_grad, value.grad is None)
        return f"{kind} {hashlib.sha1(content).hexdigest()}"
    if isinstance(value, np.ndarray):
        return hashlib.sha1(value.tobytes()).hexdigest()
    if isinstance(value, _ATOMS):
        return repr(value)
    if depth and isinstance(value, list | tuple | set):
        return f"{type(value)} {[_told(item, depth - 1) for item in value]}"
    if depth and isinstance(value, dict):
        return f"{type(value)} {[(_told(k, depth - 1), _told(v, depth - 1)) for k, v in value.items()]}"
    return f"{type(value)} {id(value)}"
