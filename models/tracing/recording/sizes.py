"""What a forward reads of its modules: sizes of layers, numbers that modules hold, and their modes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from ...layers.kinds import behaves_as
from ...layers.patching import replaced
from .attributes import HOLD_NUMBERS, noted_uses, traced_value

if TYPE_CHECKING:
    from .recorder import Recorder

_SIZES = frozenset(
    """
    in_channels out_channels in_features out_features num_features num_channels num_parameters normalized_shape groups
    """.split()  # noqa: SIM905
)


# What is patched is patched for the whole process, by the recording session as well: one thread traces at a time.
TRACING = threading.RLock()


@contextmanager
def recorded_sizes(network: nn.Module, recorder: "Recorder") -> Iterator[None]:
    """Makes whole numbers that modules hold numbers that know so: the user's own, and sizes of torch's layers.

    Layers' own forwards are not listened to. What other threads read is their own affair, and another thread that would
    record waits until this one is done. Layers whose size and modules whose mode is read are noted on
    the recorder.
    """
    paths = {id(layer): path for path, layer in network.named_modules()}

    def recorded(self: nn.Module, name: str) -> Any:
        value = object.__getattribute__(self, name)
        told = name == "training" or type(value) in HOLD_NUMBERS
        if not told or id(self) not in paths or not recorder.is_listening():
            return value
        if name == "training":
            recorder.modes_read.add(self)
            return value
        of_torch = behaves_as(self).__module__.startswith("torch.nn.")
        return (
            value if of_torch and name not in _SIZES else traced_value(paths[id(self)], name, value, of_layer=of_torch)
        )

    with (
        TRACING,
        replaced(network, "__getattribute__", recorded),
        noted_uses(recorder.note_use),
    ):
        yield
