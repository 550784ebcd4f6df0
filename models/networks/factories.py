"""From a network's name to the network: reference networks, torchvision's, timm's, and the user's own factories."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from torch import nn

from ...errors import NetworkError, nearest, typed_line
from . import REFERENCE_NETWORKS
from .given import PREFIX as GIVEN_PREFIX
from .given import given_factory
from .imports import importable, load_file, load_module

Factory = Callable[..., nn.Module]

TORCHVISION_PREFIX = "torchvision:"
TIMM_PREFIX = "timm:"
# Packages whose networks a file may name: they are built, and nothing else of them is run.
LIBRARIES = (TORCHVISION_PREFIX, TIMM_PREFIX)
ACCEPTED_FORMS = (
    f"a name ({', '.join(REFERENCE_NETWORKS)}), torchvision:NAME, timm:NAME, path/to/file.py:FACTORY or "
    "package.module:FACTORY"
)


def resolve_factory(spec: str) -> Factory:
    """The function that builds the named network.

    Args:
        spec: A reference network's name (``vgg16``), ``torchvision:resnet18`` or ``timm:resnet18`` (always without
            weights), ``path/to/file.py:factory`` or ``package.module:factory``. A file finds modules beside it, a
            module those in the working directory. ``given:DIGEST`` is a network that this process handed over.

    Raises:
        NetworkError: If there is no such network, or if importing it fails.
    """
    if spec in REFERENCE_NETWORKS:
        return REFERENCE_NETWORKS[spec].factory
    if spec.startswith(TORCHVISION_PREFIX):
        return _torchvision_factory(spec.removeprefix(TORCHVISION_PREFIX))
    if spec.startswith(TIMM_PREFIX):
        return _timm_factory(spec.removeprefix(TIMM_PREFIX))
    if spec.startswith(GIVEN_PREFIX):
        return given_factory(spec)
    source, colon, name = spec.rpartition(":")
    if not colon and spec.endswith(".py"):
        raise NetworkError(f"network {spec!r} names a file but no factory in it: write {spec}:FACTORY")
    if not source or not name:
        hint = nearest(spec.strip(":"), REFERENCE_NETWORKS)
        raise NetworkError(f"unknown network {spec!r}{hint} (accepted: {ACCEPTED_FORMS})")
    return _own_factory(spec, source, name)


def build_network(spec: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network that a factory builds from these arguments.

    Args:
        spec: The network's name, as in ``resolve_factory``.
        arguments: The factory's keyword arguments.

    Raises:
        NetworkError: If the factory is not found, does not take the arguments, fails, or returns no ``nn.Module``.
    """
    factory = resolve_factory(spec)
    _check_arguments(spec, factory, arguments)
    try:
        network = factory(**arguments)
    except NetworkError:
        raise
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise NetworkError(f"network {spec!r} cannot be built with ({given}): {typed_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise NetworkError(f"network {spec!r} must return a torch.nn.Module, but returned {type(network).__name__}")
    return network


def default_input_shape(spec: str, arguments: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """The (C, H, W) of the images that a network is made for, or None where its name does not tell.

    Args:
        spec: The network's name, as in ``resolve_factory``.
        arguments: The factory's keyword arguments; ``in_channels`` sets C of a reference network.
    """
    if spec in REFERENCE_NETWORKS:
        channels, height, width = REFERENCE_NETWORKS[spec].input_shape
        return (arguments.get("in_channels", channels), height, width)
    if spec.startswith(TIMM_PREFIX):
        return _timm_input_shape(spec.removeprefix(TIMM_PREFIX), arguments)
    if not spec.startswith(TORCHVISION_PREFIX):
        return None
    from torchvision.models import get_model_weights

    try:
        weights = get_model_weights(spec.removeprefix(TORCHVISION_PREFIX))
    except ValueError:
        return None
    # What the published weights were evaluated at; detection, segmentation and video have no such square.
    default = getattr(weights, "DEFAULT", None)
    size = getattr(getattr(default, "transforms", None), "keywords", {}).get("crop_size")
    return (3, size, size) if isinstance(size, int) else None


def _torchvision_factory(name: str) -> Factory:
    # torchvision takes a second to import: only where it is asked for.
    from torchvision.models import get_model_builder, list_models

    try:
        builder = get_model_builder(name)
    except ValueError as error:
        hint = nearest(name, list_models())
        raise NetworkError(f"torchvision has no network {name!r}{hint} (accepted: {ACCEPTED_FORMS})") from error
    signature = inspect.signature(builder)
    # Detection and segmentation builders download a backbone's weights unless told not to.
    without_weights = {key: None for key in ("weights", "weights_backbone") if key in signature.parameters}

    @wraps(builder)
    def build(**arguments: Any) -> nn.Module:
        if refused := sorted({"weights", "weights_backbone", "pretrained", "pretrained_backbone"} & set(arguments)):
            raise NetworkError(
                f"torchvision:{name} is built without weights, but got {refused[0]}: "
                f"baseline.weights is the key for them"
            )
        return builder(**without_weights, **arguments)

    kept = [parameter for key, parameter in signature.parameters.items() if key not in without_weights]
    build.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return build


def timm_module() -> Any:
    """The package timm.

    Raises:
        NetworkError: If it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise NetworkError("timm:NAME needs the package timm: pip install timm") from error
    return timm


def _timm_factory(name: str) -> Factory:
    timm = timm_module()
    # Only names of timm's own table: it would download what "hf_hub:…" names.
    if not name.replace("_", "").replace(".", "").isalnum() or not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise NetworkError(f"timm has no network {name!r}{hint} (accepted: {ACCEPTED_FORMS})")
    refused = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")

    def build(**arguments: Any) -> nn.Module:
        if given := [key for key in refused if key in arguments]:
            raise NetworkError(
                f"timm:{name} is built without weights, but got {given[0]}: baseline.weights is the key for them"
            )
        network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
        return network

    return build


def _timm_input_shape(name: str, arguments: Mapping[str, Any]) -> tuple[int, int, int] | None:
    config = timm_module().get_pretrained_cfg(name)
    if config is None:
        return None
    channels, height, width = config.input_size
    size = arguments.get("img_size")
    if isinstance(size, int):
        height, width = size, size
    return (arguments.get("in_chans", channels), height, width)


def _own_factory(spec: str, source: str, name: str) -> Factory:
    if source.endswith(".py"):
        module, folder = load_file(source)
    else:
        module, folder = load_module(source)
    factory = getattr(module, name, None)
    if factory is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(f"network {spec!r}: {source} has no {name!r}{nearest(name, known)}")
    if not callable(factory):
        raise NetworkError(f"network {spec!r}: {name!r} must be a function or class, but is {type(factory).__name__}")

    # A factory may import what it needs only when it is called.
    @wraps(factory, updated=())
    def build(**arguments: Any) -> nn.Module:
        with importable(folder):
            return factory(**arguments)

    return build


def _check_arguments(spec: str, factory: Factory, arguments: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a callable without a signature: the call itself will tell
        return
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [name for name, parameter in parameters.items() if parameter.kind not in variable]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    accepted = ", ".join(named) or "none"
    for name in arguments:
        if name not in named and not takes_any:
            raise NetworkError(
                f"network {spec!r} has no argument {name!r}{nearest(name, named)} (accepted: {accepted})"
            )
    for name in named:
        if parameters[name].default is inspect.Parameter.empty and name not in arguments:
            raise NetworkError(f"network {spec!r} needs the argument {name!r}; accepted: {accepted}")
