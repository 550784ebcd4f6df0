"""Hooks of layers, looked at while they run: whether they only observe, or change what the layer is given or yields."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..inputs import tensors_of


@contextmanager
def watched_hooks(layer: nn.Module, changes: Callable[[], None]) -> Iterator[None]:
    """Calls `changes` where a hook of the layer's returns or writes something meanwhile, or fails.

    Hooks see tensors without values then, of which some cannot be printed or stored: that says nothing of the network.
    """
    held = [hooks for hooks in (layer._forward_hooks, layer._forward_pre_hooks) if hooks]
    before = [dict(hooks) for hooks in held]
    try:
        for hooks in held:
            for key, hook in hooks.items():
                hooks[key] = _watched(hook, changes)
        yield
    finally:
        for hooks, those in zip(held, before, strict=True):
            hooks.update(those)


def _watched(hook: Callable[..., Any], changes: Callable[[], None]) -> Callable[..., Any]:
    def called(module: nn.Module, *given: Any) -> Any:
        versions = _versions(given)
        try:
            result = hook(module, *given)
        except Exception:
            changes()
            return None
        if result is not None or _versions(given) != versions:
            changes()
        return result

    return called


def _versions(given: Any) -> list[int]:
    return [x._version for x in tensors_of(given) if isinstance(x, Tensor)]
