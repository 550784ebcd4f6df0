"""A network left as it was, whatever its forward does to it meanwhile."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def preserving_state(network: nn.Module) -> Iterator[None]:
    """Puts back every module's attributes, mode, buffers and containers at the end, and the state of random numbers.

    Parameters are not looked after: torch itself refuses to change most of them in place.
    """
    before = {module: dict(module.__dict__) for module in network.modules()}
    containers = [value for attributes in before.values() for value in attributes.values() if _is_container(value)]
    held, empty = [_Held(value) for value in containers if value], [value for value in containers if not value]
    held_buffers = {id(buffer): buffer for module in before for buffer in module._buffers.values()}
    buffers = [(b, b.detach().clone()) for b in held_buffers.values() if b is not None and _has_values(b)]
    try:
        with _preserving_randomness(network):
            yield
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for container in held:
            container.restore()
        for filled in filter(None, empty):
            filled.clear()
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):  # a BatchNorm writes its statistics without a new version of them
                    buffer.copy_(value)


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list | set)


def _has_values(buffer: Tensor) -> bool:
    return not (buffer.is_inference() or buffer.is_meta or nn.parameter.is_lazy(buffer))


class _Held:
    """A container and what it held, with the containers in it."""

    def __init__(self, container: Any) -> None:
        self.container, self.copy = container, container.copy()
        inner = container.values() if isinstance(container, dict) else container
        self.inner = [_Held(value) for value in inner if _is_container(value)] if container else []

    def restore(self) -> None:
        """Puts it back, in place."""
        if not self._is_as_before():
            self.container.clear()
            if isinstance(self.container, list):
                self.container.extend(self.copy)
            else:
                self.container.update(self.copy)
        for held in self.inner:
            held.restore()

    def _is_as_before(self) -> bool:
        """Compares by identity: tensors have no plain equality."""
        mine, before = self.container, self.copy
        if isinstance(mine, dict):
            mine, before = [*mine, *mine.values()], [*before, *before.values()]
        return len(mine) == len(before) and all(a is b for a, b in zip(mine, before, strict=True))


@contextmanager
def _preserving_randomness(network: nn.Module) -> Iterator[None]:
    numpy_random: Any = sys.modules.get("numpy.random")
    python, of_numpy = random.getstate(), None if numpy_random is None else numpy_random.get_state()
    devices = {parameter.device.index for parameter in network.parameters() if parameter.is_cuda}
    try:
        with torch.random.fork_rng(sorted(devices)):
            yield
    finally:
        random.setstate(python)
        if numpy_random is not None:
            numpy_random.set_state(of_numpy)
