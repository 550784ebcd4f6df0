"""Published weights of torchvision's and timm's networks: from the local cache or downloaded, and what they expect."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor, nn

from ...errors import NetworkError, nearest, one_line
from .factories import TIMM_PREFIX, TORCHVISION_PREFIX, timm_module

DEFAULT = "DEFAULT"


class Statistics(NamedTuple):
    """What inputs are normalised with: pixels scaled to [0, 1], less the mean, divided by the standard deviation."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_published(network: nn.Module, spec: str, arguments: Mapping[str, Any], weights: str) -> list[str]:
    """Puts published weights into a network, in place, and returns the names of tensors for which they have no values.

    These are a classifier of another number of classes, and keep the values that they have.

    Args:
        network: That `build_network(spec, arguments)` returned.
        spec: ``torchvision:NAME`` or ``timm:NAME``.
        arguments: The factory's.
        weights: Their name, "DEFAULT" for the best ones.

    Raises:
        NetworkError: If there are none of that name, they are neither in the cache nor to be downloaded, or they belong
            to a network that differs in more than its last layers.
    """
    found = _published(spec, arguments, weights)
    own = network.state_dict()
    differing = [name for name, value in own.items() if name in found and found[name].shape != value.shape]
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    layers = {name.rpartition(".")[0] for name in (*differing, *missing)}
    if len(layers) > 2:
        raise NetworkError(
            f"weights {weights!r} of {spec} do not fit the network that it builds with these arguments: "
            f"{', '.join(sorted(layers)[:3])}{f' and {len(layers) - 3} more' if len(layers) > 3 else ''}"
        )
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted({*differing, *missing})


def stated_normalisation(spec: str, weights: str = DEFAULT) -> Statistics | None:
    """What torchvision or timm state for a network's published weights; None where they state nothing.

    Raises:
        NetworkError: If there are no weights of that name.
    """
    if spec.startswith(TORCHVISION_PREFIX):
        preset = getattr(_torchvision_weights(spec, weights), "transforms", None)
        made = preset() if preset is not None else None
        mean, std = getattr(made, "mean", None), getattr(made, "std", None)
    elif spec.startswith(TIMM_PREFIX):
        config = _timm_config(spec, weights)
        mean, std = config.mean, config.std
    else:
        return None
    return Statistics(tuple(mean), tuple(std)) if mean and std else None


def _published(spec: str, arguments: Mapping[str, Any], weights: str) -> Mapping[str, Tensor]:
    if spec.startswith(TORCHVISION_PREFIX):
        member = _torchvision_weights(spec, weights)
        try:
            found: Mapping[str, Tensor] = member.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:  # of the network, the disk, a broken file
            raise _unavailable(spec, weights, f"torch's cache ({_torch_cache()})", error) from error
        return found
    if not spec.startswith(TIMM_PREFIX):
        raise NetworkError(
            f"baseline.weights = {weights!r}: published weights are those of torchvision:NAME and timm:NAME, not of "
            f"{spec}; give baseline.checkpoint"
        )
    config = _timm_config(spec, weights)
    name = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    try:
        with _not_retrying():
            network = timm_module().create_model(name, pretrained=True, **arguments)
    except Exception as error:
        raise _unavailable(spec, weights, "Hugging Face's cache", error) from error
    state: dict[str, Tensor] = network.state_dict()
    # Timm draws the classifier of other classes at random; what it has read is told by the number that it states.
    if (classifier := config.classifier) and getattr(network, "num_classes", None) != config.num_classes:
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    return state


@contextmanager
def _not_retrying() -> Iterator[None]:
    """Where Hugging Face's address is not even known, its cache alone: the hub would try for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_reachable(address: str) -> bool:
    """Whether an address has a name that is known here, or a proxy knows it."""
    if getproxies():
        return True
    parts = urlsplit(address)
    try:
        socket.getaddrinfo(parts.hostname, parts.port or 443)
    except OSError:
        return False
    return True


def _torchvision_weights(spec: str, weights: str) -> Any:
    from torchvision.models import get_model_weights

    build_name = spec.removeprefix(TORCHVISION_PREFIX)
    try:
        known = get_model_weights(build_name)
    except ValueError as error:
        raise NetworkError(f"torchvision has no network {build_name!r}") from error
    members = known.__members__
    if not members:
        raise NetworkError(f"torchvision publishes no weights of {build_name}")
    if weights not in members:
        names = [DEFAULT, *(member.name for member in known)]
        raise NetworkError(f"{spec} has no weights {weights!r}{nearest(weights, names)} (known: {', '.join(names)})")
    return members[weights]


def _timm_config(spec: str, weights: str) -> Any:
    timm = timm_module()
    name, _, tag = spec.removeprefix(TIMM_PREFIX).partition(".")
    wanted = tag if weights == DEFAULT else weights
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if not tags:
        raise NetworkError(f"timm publishes no weights of {name}")
    if wanted and wanted not in tags:
        raise NetworkError(
            f"{spec} has no weights {wanted!r}{nearest(wanted, tags)} (known: {DEFAULT}, {', '.join(tags)})"
        )
    return timm.get_pretrained_cfg(f"{name}.{wanted}" if wanted else name)


def _unavailable(spec: str, weights: str, where: str, error: Exception) -> NetworkError:
    return NetworkError(
        f"weights {weights!r} of {spec} are not in {where} and cannot be downloaded ({one_line(error):.120}); "
        f"copy them there from a machine that can, or give baseline.checkpoint"
    )


def _torch_cache() -> str:
    from torch import hub

    return f"{hub.get_dir()}/checkpoints"
