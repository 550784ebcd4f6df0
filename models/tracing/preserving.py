"""A network left as it was, whatever its forward does to it meanwhile."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONTAINERS = (dict, list, set)
# By far the most of what modules hold.
_ATOMS = frozenset((bool, int, float, str, type(None), tuple))


@contextmanager
def preserving_state(network: nn.Module) -> Iterator[Callable[[], None]]:
    """Puts back every module's attributes, mode, buffers and containers at the end, and the state of random numbers.

    What it gives puts all but the buffers' values back at once, for what runs next meanwhile.

    Parameters are not looked after: torch itself refuses to change most of them in place.
    """
    state = _State(network)
    try:
        yield state.put_back
    finally:
        state.put_back()
        state.put_values_back()


class _State:
    """What a network's modules hold, and the state of random numbers."""

    def __init__(self, network: nn.Module) -> None:
        self.attributes = {module: dict(module.__dict__) for module in network.modules()}
        self.held: list[_Held] = []
        self.empty: list[Any] = []
        buffers: dict[int, Tensor] = {}
        for held in self.attributes.values():
            for value in held.values():
                if type(value) not in _ATOMS and isinstance(value, _CONTAINERS):
                    self.held.append(_Held(value)) if value else self.empty.append(value)
            buffers.update((id(buffer), buffer) for buffer in held["_buffers"].values() if buffer is not None)
        self.buffers = [(b, b.detach().clone()) for b in buffers.values() if _has_values(b)]
        self.randomness = _Randomness(network)

    def put_back(self) -> None:
        """Puts back all but the buffers' values."""
        for module, attributes in self.attributes.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for container in self.held:
            container.restore()
        for filled in filter(None, self.empty):
            filled.clear()
        self.randomness.restore()

    @torch.no_grad()
    def put_values_back(self) -> None:
        """Puts back the buffers' values."""
        for buffer, value in self.buffers:
            if not torch.equal(buffer, value):  # a BatchNorm writes its statistics without a new version of them
                buffer.copy_(value)


def _has_values(buffer: Tensor) -> bool:
    return not (buffer.is_inference() or buffer.is_meta or nn.parameter.is_lazy(buffer))


class _Held:
    """A container and what it held, with the containers in it."""

    def __init__(self, container: Any) -> None:
        self.container, self.copy = container, container.copy()
        inner = container.values() if isinstance(container, dict) else container
        self.inner = [_Held(v) for v in inner if type(v) not in _ATOMS and isinstance(v, _CONTAINERS)]

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


class _Randomness:
    """The state of random numbers of Python, of numpy where it is there, and of torch on the network's devices."""

    def __init__(self, network: nn.Module) -> None:
        self.numpy: Any = sys.modules.get("numpy.random")
        self.of_python, self.of_numpy = random.getstate(), self.numpy and self.numpy.get_state()
        devices = sorted({parameter.device.index for parameter in network.parameters() if parameter.is_cuda})
        self.of_torch, self.of_cuda = torch.get_rng_state(), [(i, torch.cuda.get_rng_state(i)) for i in devices]

    def restore(self) -> None:
        """Puts it back."""
        random.setstate(self.of_python)
        if self.numpy:
            self.numpy.set_state(self.of_numpy)
        torch.set_rng_state(self.of_torch)
        for device, state in self.of_cuda:
            torch.cuda.set_rng_state(state, device)
