"""Weights read from a file into a network that was built for them; no code is ever unpickled."""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import NetworkError, one_line
from .checkpoints import read_description

# What torch puts before the names of what it wraps: DataParallel before all, `torch.compile` wherever it was used.
_PARALLEL = "module."
_COMPILED = "_orig_mod"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a `torch.save`d state dict.

    Raises:
        NetworkError: if the file is missing, damaged, or holds anything but tensors by name.
    """
    if not path.is_file():
        raise NetworkError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises whatever a damaged byte leads to
        # Torch's own text advises to unpickle the file after all.
        unpickling = isinstance(error, pickle.UnpicklingError)
        reason = "it is damaged, or holds more than tensors" if unpickling else one_line(error, whole=True)
        raise NetworkError(f"{path} is neither a safetensors file nor a plain state dict: {reason:.200}") from error
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise NetworkError(f"{path} holds no state dict: save the network's state_dict() itself")
    return weights


def fill(network: nn.Module, weights: dict[str, Tensor], path: str, factory: str) -> None:
    """Puts a checkpoint's tensors into the network; those of a wrapped one (DataParallel, torch.compile) as well.

    Raises:
        NetworkError: if they are those of another network.
    """
    if Path(path).suffix == ".safetensors":
        _refuse_narrowed(Path(path))
    try:
        network.load_state_dict(unwrapped(weights, network))
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:]]
        raise NetworkError(
            f"checkpoint {path!r} is of another network than {factory} builds: "
            f"{' '.join(reasons)[:200]}; check the network's factory and its arguments"
        ) from error


def unwrapped(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors under the names that they have in the network itself: without `module.` and `_orig_mod.`.

    What the network has in its own names stays.
    """
    own = list(network.state_dict())
    if not any(_COMPILED in name.split(".") for name in own):
        weights = {".".join(part for part in name.split(".") if part != _COMPILED): x for name, x in weights.items()}
    while weights and not weights.keys() & set(own) and all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): x for name, x in weights.items()}
    return weights


def _refuse_narrowed(path: Path) -> None:
    try:
        widths = read_description(path).widths
    except NetworkError:
        return
    if widths:
        raise NetworkError(f"checkpoint {str(path)!r} is narrowed already; give the full network's")
