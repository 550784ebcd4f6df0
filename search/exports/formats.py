"""The formats of exported networks; a new one is a file beside this, its entry here and its name in `names`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ...errors import StudyError, nearest
from ...models.checkpoints import NetworkDescription
from .safetensors_file import write_safetensors
from .state_dict import write_state_dict


class Format(NamedTuple):
    """How a network becomes a file.

    Attributes:
        suffix: of the file, without the dot.
        write: puts a network with its description at a path, whole or not at all; a file there is replaced.
    """

    suffix: str
    write: Callable[[nn.Module, Path, NetworkDescription], None]


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", write_safetensors),
    "state-dict": Format("pt", write_state_dict),
}


def format_of(name: str) -> Format:
    """The format of a name in `names.EXPORT_FORMATS`.

    Raises:
        StudyError: if there is none.
    """
    if name not in FORMATS:
        raise StudyError(f"unknown format {name!r}{nearest(name, FORMATS)} (known: {', '.join(FORMATS)})")
    return FORMATS[name]
