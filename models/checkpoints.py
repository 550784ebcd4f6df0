"""Folded networks as files: safetensors, with all that rebuilding them needs in the header. No code is ever loaded."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from ..errors import NetworkError, one_line
from ..files import whole_file
from .branches.folding.folding import fold
from .branches.keep import fitting_widths
from .branches.network import BranchedNetwork
from .channels.groups import Analysis
from .examples import placed, zeros_like
from .networks import REFERENCE_NETWORKS
from .networks.factories import LIBRARIES, build_network

FORMAT = 3
# Until networks had other metrics, a description had `accuracies`, each with an `accuracy`.
_ACCURACIES_FORMAT = 2
_KEY = "branchfold"
_CARD = "card"
_DTYPES = {"float16", "bfloat16", "float32", "float64"}


class UntrustedFactoryError(NetworkError):
    """A checkpoint whose network was built by the user's own code, which a file cannot make run.

    Args:
        message: the line.
        factory: that the file names.
    """

    def __init__(self, message: str, factory: str = "") -> None:
        super().__init__(message)
        self.factory = factory


@dataclass(frozen=True)
class NetworkDescription:
    """What a checkpoint says of its network.

    Attributes:
        factory: the name that `build_network` knows it by.
        arguments: the factory's keyword arguments.
        input_shape: (C, H, W) of an example; of other inputs than one image, `models.examples.described`.
        widths: group name → channels, for the groups that are narrower than the factory makes them.
        data: the data set's `name`, and the `mean` and `std` that its images were normalised with.
        metrics: each with `split`, the name of the `metric`, its `value`, `examples` and `seed`; and with its 95 %
            `interval` where it has one or, where those examples chose the network among others, with their number,
            `selected_among`.
        task: what it is for: the task's `name`, its `arguments`, and the `num_classes` of the data.
        origin: the study and trial that it comes from.
        versions: of what it was made with.
        dtype: of its parameters.
        digest: SHA-256 of the tensors and of all else said here, to find a file that was changed; `save_network`
            writes it.
        format: of this description.
    """

    factory: str
    arguments: dict[str, Any]
    input_shape: list[Any]
    widths: dict[str, int] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    dtype: str = "float32"
    digest: str = ""
    format: int = FORMAT


def save_network(network: nn.Module, path: str | Path, description: NetworkDescription, *, card: str = "") -> None:
    """Writes a network and its description to a safetensors file, whole or not at all.

    Args:
        network: any.
        path: of the file; one that is there is replaced.
        description: of the network.
        card: text for people, which the header has beside the description.

    Raises:
        NetworkError: if the file cannot be written.
    """
    path = Path(path)
    described = replace(description, digest=digest_of(network, description))
    try:
        with whole_file(path) as draft:
            # Under one key: safetensors writes several in any order, and equal networks are to be equal files.
            told = asdict(described) | ({_CARD: card} if card else {})
            save_model(network, str(draft), metadata={_KEY: json.dumps(told)})
    except (OSError, SafetensorError) as error:  # a full disk is the latter
        raise NetworkError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def is_checkpoint(path: Path) -> bool:
    """Whether a file is one that `save_network` wrote, in this format or an earlier one."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_description(path: str | Path) -> NetworkDescription:
    """The description in a checkpoint's header.

    Raises:
        NetworkError: if the file is missing, damaged, or holds no description of branchfold's.
    """
    if not isinstance(path, str | os.PathLike):
        raise NetworkError(f"path must be a file's, but got {path!r:.80}")
    path = Path(path)
    if not path.is_file():
        raise NetworkError(
            f"{path} is a folder and no checkpoint" if path.is_dir() else f"there is no checkpoint {path}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NetworkError(
            f"{path} is not a whole safetensors file, which alone tells how to rebuild its network "
            f"(`branchfold export` writes one): {one_line(error)}"
        ) from error
    if _KEY not in metadata:
        raise NetworkError(
            f"{path} holds no description of its network; only files that branchfold wrote can be rebuilt"
        )
    try:
        told = json.loads(metadata[_KEY])
        told.pop(_CARD, None)
    except (AttributeError, TypeError, ValueError) as error:
        raise NetworkError(f"the description in {path} is damaged: {error}") from error
    return parse_description(told, path)


def parse_description(told: Any, path: Path) -> NetworkDescription:
    """The description that a file holds as JSON.

    Raises:
        NetworkError: if it is damaged or of another version.
    """
    try:
        description = NetworkDescription(**_read(told))
    except (AttributeError, TypeError) as error:
        raise NetworkError(f"the description in {path} is damaged: {error}") from error
    if description.format not in (FORMAT, _ACCURACIES_FORMAT):
        raise NetworkError(f"{path} has format {description.format}, this version reads format {FORMAT}")
    for name, kind in (("factory", str), ("arguments", dict), ("input_shape", list), ("widths", dict), ("dtype", str)):
        if not isinstance(getattr(description, name), kind):
            raise NetworkError(f"the description in {path} is damaged: {name}={getattr(description, name)!r}")
    if description.dtype not in _DTYPES:
        raise NetworkError(f"the description in {path} is damaged: dtype={description.dtype!r}")
    return description


def load_network(path: str | Path, factory: str | Callable[..., nn.Module] | None = None) -> nn.Module:
    """The network of a checkpoint, in evaluation mode on the CPU: rebuilt by its factory, narrowed, and filled.

    Args:
        path: a file that `save_network` wrote.
        factory: the user's own factory, as a function or as `path/to/file.py:factory`. Reference networks and
            torchvision's and timm's are found by themselves; other code is never run because a file names it.

    Raises:
        UntrustedFactoryError: if the file names a factory of the user's own that is not given.
        NetworkError: if the file is damaged, or the factory builds another network.
    """
    description = read_description(path)

    def fill(network: nn.Module) -> None:
        load_model(network, path, strict=True)

    return rebuilt(description, factory, path, fill)


def rebuilt(
    description: NetworkDescription,
    factory: str | Callable[..., nn.Module] | None,
    path: str | Path,
    fill: Callable[[nn.Module], None],
) -> nn.Module:
    """The network of a description, in evaluation mode on the CPU; arguments and errors as for `load_network`.

    Args:
        description: of the network.
        factory: the user's own.
        path: of the file that holds both.
        fill: puts the file's tensors into the narrowed network.
    """
    try:
        if callable(factory):
            network = factory(**description.arguments)
        else:
            network = build_network(trusted_factory(description, factory, path), description.arguments)
        network = at_widths(network, description.input_shape, description.widths)
        network.to(getattr(torch, description.dtype))
        fill(network)
    except UntrustedFactoryError:
        raise
    except NetworkError as error:
        raise NetworkError(f"{path} cannot be rebuilt: {error}") from error
    except (AttributeError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        reason = one_line(error, whole=True)
        raise NetworkError(
            f"{path} does not fit the network that {_name_of(factory, description)} builds: {reason:.300}"
        ) from error
    if digest_of(network, description) != description.digest:
        raise NetworkError(f"{path} is damaged: it does not hold what was saved (SHA-256 differs)")
    return network.eval()


def digest_of(network: nn.Module, description: NetworkDescription) -> str:
    """SHA-256 over names, types, shapes and bytes of a network's parameters and buffers, and over its description."""
    told = json.dumps({**_written(description), "digest": ""}, sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(told: dict[str, Any]) -> dict[str, Any]:
    """A description as a file has it by today's names."""
    if told.get("format") != _ACCURACIES_FORMAT:
        return told
    earlier = told.get("accuracies", [])
    metrics = [{**entry, "metric": "accuracy", "value": entry.get("accuracy")} for entry in earlier]
    return {**{key: value for key, value in told.items() if key != "accuracies"}, "metrics": metrics}


def _written(description: NetworkDescription) -> dict[str, Any]:
    """A description as a file of its format has it."""
    told = asdict(description)
    if description.format == _ACCURACIES_FORMAT:
        later = told.pop("metrics")
        del told["task"]
        told["accuracies"] = [{k: v for k, v in entry.items() if k not in ("metric", "value")} for entry in later]
    return told


def _name_of(factory: str | Callable[..., nn.Module] | None, description: NetworkDescription) -> str:
    if factory is None:
        return description.factory
    given = factory if isinstance(factory, str) else getattr(factory, "__qualname__", "the given factory")
    return f"{given} (not {description.factory}, as when it was saved)" if given != description.factory else given


def at_widths(network: nn.Module, input_shape: list[Any], widths: Mapping[str, int]) -> nn.Module:
    """A network of the same class at these widths, holding the first channels of each group.

    Args:
        network: the network at full width.
        input_shape: as in `NetworkDescription`.
        widths: group name → channels; groups that are not named stay whole.

    Raises:
        NetworkError: if a group is unknown or cannot have that width.
    """
    if not widths:
        return network
    analysis = Analysis.of(network, placed(zeros_like(input_shape, 1), network))
    return fold(BranchedNetwork.at(analysis, fitting_widths(analysis.groups, widths)))


def trusted_factory(description: NetworkDescription, factory: str | None, path: str | Path) -> str:
    """The name of the factory that may run: the one given, or a reference network's or torchvision's.

    Raises:
        UntrustedFactoryError: if the file names another one.
    """
    if factory is not None:
        return factory
    name = description.factory
    if name in REFERENCE_NETWORKS or name.startswith(LIBRARIES):
        return name
    raise UntrustedFactoryError(
        f"{path} was built by {name}, which is not run unasked: give it as load_network(path, factory=…)", name
    )


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"branchfold": __version__, "torch": torch.__version__, "python": platform.python_version()}
