"""Layers whose size a forward reads, which narrowing would change, and modules whose mode it reads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from ...layers.kinds import behaves_as
from .attributes import HOLD_NUMBERS, plain_attributes, traced_value

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


# What is patched is patched for the whole process, by the recording session as well: one thread traces at a time.
TRACING = threading.RLock()


@contextmanager
def recorded_sizes(network: nn.Module, recorder: "Recorder") -> Iterator[set[str]]:
    """Collects the paths of torch's own layers whose size is read meanwhile, as an attribute or from `parameters()`.

    Layers' own forwards are not listened to: what else reads a size is the user's code. Whole numbers that the user's
    own modules hold are numbers that know so meanwhile. What other threads read is their own affair, and another thread
    that would record waits until this one is done. Modules whose mode is read are noted on the recorder.
    """
    paths = {id(layer): path for path, layer in network.named_modules()}
    read: set[str] = set()

    def recorded(self: nn.Module, name: str) -> Any:
        value = object.__getattribute__(self, name)
        told = name == "training" or name in _SIZES or type(value) in HOLD_NUMBERS
        if not told or id(self) not in paths or not recorder.is_listening():
            return value
        if name == "training":
            recorder.modes_read.add(self)
        elif behaves_as(self).__module__.startswith("torch.nn."):
            if name in _SIZES:
                read.add(paths[id(self)])
        elif type(value) in HOLD_NUMBERS:
            return traced_value(paths[id(self)], name, value)
        return value

    with TRACING:
        before = nn.Module.__dict__.get("__getattribute__")
        nn.Module.__getattribute__ = recorded  # type: ignore[method-assign,assignment]
        try:
            with plain_attributes(network):
                yield read
        finally:
            if before is None:
                del nn.Module.__getattribute__
            else:
                nn.Module.__getattribute__ = before  # type: ignore[method-assign]
