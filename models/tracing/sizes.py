"""Layers whose size a forward reads: the trace keeps the number, which narrowing would change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..layers.kinds import behaves_as

_SIZES = {
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "num_features",
    "num_channels",
    "num_parameters",
    "normalized_shape",
    "parameters",
    "named_parameters",
}


# What is patched is patched for the whole process, by `torch.fx` as well: one thread traces at a time.
_TRACING = threading.RLock()


@contextmanager
def recorded_sizes(network: nn.Module) -> Iterator[set[str]]:
    """Collects the paths of torch's own layers whose size is read meanwhile, as an attribute or from `parameters()`.

    Their forwards do not run while a network is traced: what reads a size is the user's code. What other threads read
    is their own affair, and another thread that would record waits until this one is done.
    """
    paths = {id(layer): path for path, layer in network.named_modules()}
    read: set[str] = set()
    mine = threading.get_ident()

    def recorded(self: nn.Module, name: str) -> Any:
        if (
            name in _SIZES
            and threading.get_ident() == mine
            and id(self) in paths
            and behaves_as(self).__module__.startswith("torch.nn.")
        ):
            read.add(paths[id(self)])
        return object.__getattribute__(self, name)

    with _TRACING:
        before = nn.Module.__dict__.get("__getattribute__")
        nn.Module.__getattribute__ = recorded  # type: ignore[method-assign,assignment]
        try:
            yield read
        finally:
            if before is None:
                del nn.Module.__getattribute__
            else:
                nn.Module.__getattribute__ = before  # type: ignore[method-assign]
