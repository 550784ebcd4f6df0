"""Methods that all of a network's modules have, replaced for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# What each class has only meanwhile, by name.
_borrowed: dict[type[nn.Module], set[str]] = {}


def own_names(kind: type[nn.Module]) -> set[str]:
    """The names that a class defines itself, but for methods that it has only meanwhile."""
    return set(vars(kind)) - _borrowed.get(kind, set())


@contextmanager
def replaced(network: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Gives the classes of a network's modules another method meanwhile, where theirs is that of `nn.Module`.

    Where a class has one of its own, `nn.Module` itself gets it, for that class may ask it. Python then tells every
    class there is of modules, of which libraries have thousands: milliseconds each time.
    """
    kinds = list({type(module) for module in network.modules()})
    if any(getattr(kind, name) is not getattr(nn.Module, name) for kind in kinds):
        kinds = [nn.Module]
    before = [(kind, kind.__dict__.get(name)) for kind in kinds]
    try:
        for kind, own in before:
            setattr(kind, name, method)
            if own is None:
                _borrowed.setdefault(kind, set()).add(name)
        yield
    finally:
        for kind, own in before:
            if own is None:
                delattr(kind, name)
                _borrowed[kind].remove(name)
                if not _borrowed[kind]:
                    del _borrowed[kind]
            else:
                setattr(kind, name, own)
