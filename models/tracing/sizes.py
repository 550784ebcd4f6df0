"""Layers whose size a forward reads: the trace keeps the number, which narrowing would change."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

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


@contextmanager
def recorded_sizes(network: nn.Module) -> Iterator[set[str]]:
    """Collects the paths of torch's own layers whose size is read meanwhile, as an attribute or from `parameters()`.

    Their forwards do not run while a network is traced: what reads a size is the user's code.
    """
    paths = {id(layer): path for path, layer in network.named_modules()}
    read: set[str] = set()

    def recorded(self: nn.Module, name: str) -> Any:
        if name in _SIZES and type(self).__module__.startswith("torch.nn.") and id(self) in paths:
            read.add(paths[id(self)])
        return object.__getattribute__(self, name)

    nn.Module.__getattribute__ = recorded  # type: ignore[method-assign,assignment]
    try:
        yield read
    finally:
        del nn.Module.__getattribute__
