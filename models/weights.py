"""Weights read from a file into a network that was built for them; no code is ever unpickled."""

import difflib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ..errors import NetworkError, one_line
from .checkpoints import read_description

# What torch puts before the names of what it wraps: DataParallel before all, `torch.compile` wherever it was used.
_PARALLEL = "module."
_COMPILED = "_orig_mod"
# Where training loops keep the state dict among what else they save: Lightning, timm and torchvision's references.
_LAYOUTS = ("state_dict", "model", "model_state_dict", "network", "net", "module")
# Of each kind of misfit so many are told by name.
_TOLD = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, a `torch.save`d state dict, or a training checkpoint that holds one.

    Objects beside the tensors, such as hyperparameters, are skipped and not built.

    Raises:
        NetworkError: if the file is missing, damaged, or holds no tensors by name.
    """
    if not path.is_file():
        raise NetworkError(f"there is no checkpoint {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except Exception as error:  # torch's unpickler raises whatever a damaged byte leads to
        # Torch's own text advises to unpickle the file after all.
        unpickling = isinstance(error, pickle.UnpicklingError)
        reason = "it is damaged, or holds more than tensors" if unpickling else one_line(error, whole=True)
        raise NetworkError(f"{path} is neither a safetensors file nor a plain state dict: {reason:.200}") from error
    weights = _state_dict(content)
    if weights is None:
        keys = f" (it holds {', '.join(map(str, list(content)[:5]))})" if isinstance(content, Mapping) else ""
        raise NetworkError(f"{path} holds no state dict{keys}: save the network's state_dict() itself")
    return weights


def fill(network: nn.Module, weights: dict[str, Tensor], path: str, factory: str) -> None:
    """Puts a checkpoint's tensors into the network, whatever wrapped it while it trained.

    That is DataParallel, `torch.compile`, or a module such as Lightning's with the network as an attribute.

    Raises:
        NetworkError: if they are those of another network; tells which are missing, unexpected or of other shapes.
    """
    if Path(path).suffix == ".safetensors":
        _refuse_narrowed(Path(path))
    own, given = network.state_dict(), unwrapped(weights, network)
    # A plain dict is without BatchNorm's counters where an old torch wrote it; a shared tensor is saved once.
    places = {own[name].data_ptr() for name in given.keys() & own.keys() if own[name].numel()}
    missing = [
        name
        for name, value in own.items()
        if name not in given and not name.endswith("num_batches_tracked") and value.data_ptr() not in places
    ]
    unexpected = [name for name in given if name not in own]
    differing = [name for name in own if name in given and own[name].shape != given[name].shape]
    if missing or unexpected or differing:
        raise NetworkError(
            f"checkpoint {path!r} is of another network than {factory} builds: "
            f"{'; '.join(_misfits(own, given, missing, unexpected, differing))}; "
            f"check the network's factory and its arguments"
        )
    network.load_state_dict(given, strict=False)


def unwrapped(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors under the names that they have in the network itself: without `module.` and `_orig_mod.`.

    Of a module that holds the network, as in Lightning's checkpoints, the network's alone remain. What the network has
    in its own names stays.
    """
    own = list(network.state_dict())
    if not any(_COMPILED in name.split(".") for name in own):
        weights = {".".join(part for part in name.split(".") if part != _COMPILED): x for name, x in weights.items()}
    while weights and not weights.keys() & set(own) and all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): x for name, x in weights.items()}
    return _inner(weights, set(own))


def _inner(weights: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """What lies under the prefix that makes most names the network's own; the tensors as they are if none does."""
    prefixes = {name[: i + 1] for name in weights for i, letter in enumerate(name) if letter == "."}
    counted = {prefix: len(own & _under(prefix, weights).keys()) for prefix in sorted(prefixes, key=len)}
    best = max(counted, key=counted.__getitem__, default="")
    return _under(best, weights) if counted.get(best, 0) > len(own & weights.keys()) else weights


def _under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


class _Skipped:
    """What stands in a checkpoint for an object that is none of torch's: it takes everything and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        foreign = get_unsafe_globals_in_checkpoint(path)
        if not foreign:
            raise
    with safe_globals([(_Skipped, name) for name in foreign]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    found = (_state_dict(content[key]) for key in _LAYOUTS if key in content)
    return next((weights for weights in found if weights is not None), None)


def _misfits(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    differing: list[str],
) -> list[str]:
    """One text for each kind of misfit."""
    told = []
    if missing:
        told.append(f"missing {_listed([_guessed(name, own, given, unexpected) for name in missing])}")
    if unexpected:
        told.append(f"unexpected {_listed(unexpected)}")
    if differing:
        shapes = [f"{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}" for name in differing]
        told.append(f"of other shapes {_listed(shapes)}")
    return told


def _guessed(name: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor], unexpected: list[str]) -> str:
    """A missing name, with the most similar unexpected one of its shape."""
    alike = [other for other in unexpected if given[other].shape == own[name].shape]
    match = difflib.get_close_matches(name, alike, n=1, cutoff=0.5)
    return f"{name} (is it {match[0]}?)" if match else name


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD])}{more}"


def _refuse_narrowed(path: Path) -> None:
    try:
        widths = read_description(path).widths
    except NetworkError:
        return
    if widths:
        raise NetworkError(f"checkpoint {str(path)!r} is narrowed already; give the full network's")
