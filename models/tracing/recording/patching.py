"""Methods that all of a network's modules have, replaced for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


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
        for kind in kinds:
            setattr(kind, name, method)
        yield
    finally:
        for kind, own in before:
            if own is None:
                delattr(kind, name)
            else:
                setattr(kind, name, own)
