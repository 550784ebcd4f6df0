"""The plain state dict, for `torch.load` wherever the network's code is at hand."""

from pathlib import Path

import torch
from torch import nn

from ....models.checkpoints import rebuilt
from ....models.weights import read_weights
from ..options import AS_IT_IS
from .package import Content, Package, Run, parse_content, runs
from .record import add_record, find_record


def write_state_dict(package: Package, path: Path) -> None:
    """Writes the tensors by name; the description lies beside them in the archive, where `torch.load` does not look."""
    with path.open("wb") as file:
        torch.save(package.network.state_dict(), file)
    add_record(path, Content(package.description, AS_IT_IS).to_json())


def read_state_dict(path: Path, content: Content, factory: str | None) -> Run:
    """The network, built by its factory, narrowed as the description says, and filled.

    Raises:
        NetworkError: if the file is damaged, or the factory builds another network.
    """
    return runs(rebuilt(content.description, factory, path, lambda network: _fill(network, path)))


def tell_state_dict(path: Path) -> Content:
    """What the archive says; nothing is unpickled.

    Raises:
        NetworkError: if it says nothing, or what it says is damaged.
    """
    return parse_content(find_record(path), path)


def _fill(network: nn.Module, path: Path) -> None:
    network.load_state_dict(read_weights(path))
