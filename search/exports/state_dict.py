"""The plain state dict, for `torch.load` wherever the network's code is at hand."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from ...errors import StudyError, one_line
from ...models.checkpoints import NetworkDescription


def write_state_dict(network: nn.Module, path: Path, description: NetworkDescription) -> None:
    """Writes the tensors by name, whole or not at all; of the description nothing is kept.

    Raises:
        StudyError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            torch.save(network.state_dict(), partial)
            partial.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise StudyError(f"cannot write {path}: {reason}") from error
