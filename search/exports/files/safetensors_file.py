"""The format that branchfold reads again: a safetensors file with all that rebuilding the network needs."""

from pathlib import Path

from ....models.checkpoints import load_network, read_description, save_network
from ..options import AS_IT_IS
from .package import Content, Package, Run, runs


def write_safetensors(package: Package, path: Path) -> None:
    """Writes tensors, description and model card; `load_network` rebuilds the network from them.

    Raises:
        NetworkError: if the file cannot be written.
    """
    save_network(package.network, path, package.description, card=package.card)


def read_safetensors(path: Path, content: Content, factory: str | None) -> Run:
    """The network, rebuilt by its factory.

    Raises:
        NetworkError: if the file is damaged, or the factory builds another network.
    """
    return runs(load_network(path, factory))


def tell_safetensors(path: Path) -> Content:
    """What the header says.

    Raises:
        NetworkError: if there is no such file, it is damaged, or says nothing.
    """
    return Content(read_description(path), AS_IT_IS)
