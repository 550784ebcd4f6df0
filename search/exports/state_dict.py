"""The plain state dict, for `torch.load` wherever the network's code is at hand."""

from pathlib import Path

import torch
from torch import nn

from ...errors import StudyError, one_line
from ...files import whole_file
from ...models.checkpoints import NetworkDescription


def write_state_dict(network: nn.Module, path: Path, description: NetworkDescription) -> None:
    """Writes the tensors by name, whole or not at all; of the description nothing is kept.

    Raises:
        StudyError: if the file cannot be written.
    """
    try:
        with whole_file(path) as draft, draft.open("wb") as file:
            torch.save(network.state_dict(), file)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise StudyError(f"cannot write {path}: {reason}") from error
