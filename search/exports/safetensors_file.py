"""The format that branchfold reads again: a safetensors file with all that rebuilding the network needs."""

from pathlib import Path

from torch import nn

from ...models.checkpoints import NetworkDescription, save_network


def write_safetensors(network: nn.Module, path: Path, description: NetworkDescription) -> None:
    """Writes tensors and description, whole or not at all; `load_network` rebuilds the network from them.

    Raises:
        NetworkError: if the file cannot be written.
    """
    save_network(network, path, description)
