"""Layers whose size a forward reads: the trace keeps the number, which narrowing would change. And whose mode it reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from .recorder import Recorder

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
def recorded_sizes(network: nn.Module, recorder: "Recorder") -> Iterator[set[str]]:
    """Collects the paths of torch's own layers whose size is read meanwhile, as an attribute or from `parameters()`.

    Layers' own forwards are not listened to: what else reads a size is the user's code. Modules whose mode is read are
    noted on the recorder.
    """
    paths = {id(layer): path for path, layer in network.named_modules()}
    read: set[str] = set()

    def recorded(self: nn.Module, name: str) -> Any:
        if (name == "training" or name in _SIZES) and id(self) in paths and recorder.is_listening():
            if name == "training":
                recorder.modes_read.add(self)
            elif type(self).__module__.startswith("torch.nn."):
                read.add(paths[id(self)])
        return object.__getattribute__(self, name)

    nn.Module.__getattribute__ = recorded  # type: ignore[method-assign,assignment]
    try:
        yield read
    finally:
        del nn.Module.__getattribute__
