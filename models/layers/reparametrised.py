"""Layers whose weight is computed from other tensors, each time it is needed: replaced by torch's plain ones.

weight_norm, spectral_norm, pruning masks and everything of `torch.nn.utils.parametrize`: a folded weight is in general
none that they can compute, so a layer that is folded holds the weight itself, as it is in evaluation. A layer that
nothing is folded into gets its own way of computing it back.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .copying import deep_copy
from .kinds import kind_of
from .modes import preserving_modes

_BEFORE = "_computed_before_branchfold"

# Hooks that compute a tensor before each forward → the attribute that names it, and how a user calls them.
_HOOKS: dict[type, tuple[str, str]] = {
    WeightNorm: ("name", "weight_norm"),
    SpectralNorm: ("name", "spectral_norm"),
    BasePruningMethod: ("_tensor_name", "pruning mask"),
}


def computed_weight(module: nn.Module) -> str:
    """How a layer of a known kind has its weight computed, "" where it holds it."""
    kind = kind_of(module)
    if kind is None or kind.reading:
        return ""
    if parametrize.is_parametrized(module):
        chains: Any = module.parametrizations
        kinds = [type(step).__name__.removeprefix("_") for chain in chains.values() for step in chain]
        return ", ".join(dict.fromkeys(kinds))
    return ", ".join(dict.fromkeys(told for _, _, told in _hooks(module)))


def _hooks(module: nn.Module) -> list[tuple[Callable[..., Any], str, str]]:
    """The hooks that compute tensors of a layer: the hook, the tensor's name, how it is called."""
    return [
        (hook, getattr(hook, attribute), told)
        for hook in module._forward_pre_hooks.values()
        for kind, (attribute, told) in _HOOKS.items()
        if isinstance(hook, kind)
    ]


def with_plain_weights(network: nn.Module) -> nn.Module:
    """The network, or a copy that shares its tensors but for such layers, which are plain there.

    Returns:
        `network` itself where there are none.
    """
    if not any(map(computed_weight, network.modules())):
        return network
    shared: dict[Tensor | nn.Module, Tensor | nn.Module] = {
        tensor: tensor for tensor in (*network.parameters(), *network.buffers())
    }
    twin = deep_copy(network, shared)
    return with_layers(twin, {layer: _plain(layer) for layer in list(twin.modules()) if computed_weight(layer)})


def _plain(layer: nn.Module) -> nn.Module:
    told, values, hooks = computed_weight(layer), _values(layer), [hook for hook, _, _ in _hooks(layer)]
    plain: nn.Module = object.__new__(parametrize.type_before_parametrizations(layer))
    plain.__dict__ = {key: value for key, value in layer.__dict__.items() if key not in values}
    for held in ("_parameters", "_buffers", "_modules"):
        plain.__dict__[held] = layer.__dict__[held].copy()
    for held in ("_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks"):
        kept = {key: hook for key, hook in layer.__dict__[held].items() if not _belongs(hook, hooks)}
        plain.__dict__[held] = type(layer.__dict__[held])(kept)
    plain._modules.pop("parametrizations", None)
    for name, (value, trains) in values.items():
        for tensors in (plain._parameters, plain._buffers):
            for key in [key for key in tensors if key.startswith(f"{name}_")]:
                del tensors[key]
        plain._parameters[name] = nn.Parameter(value, trains)
    return instead_of(layer, plain, told)


def _belongs(hook: Any, hooks: Collection[Any]) -> bool:
    """Whether a hook is one of these, or does its part when states are written and read, as spectral_norm's does."""
    hook = getattr(hook, "hook", hook)
    return any(hook is one or getattr(hook, "fn", None) is one for one in hooks)


def _values(layer: nn.Module) -> dict[str, tuple[Tensor, bool]]:
    """The tensors that are computed, as they are in evaluation, by name; and whether what they come of is trained."""
    chains: Any = layer.parametrizations if parametrize.is_parametrized(layer) else {}
    trains = {name: any(p.requires_grad for p in chain.parameters()) for name, chain in chains.items()}
    with torch.no_grad(), preserving_modes(layer):
        layer.eval()  # in training spectral_norm goes on iterating
        for hook, name, _ in _hooks(layer):
            hook(layer, ())
            own = (p for key, p in layer._parameters.items() if p is not None and key.startswith(f"{name}_"))
            trains[name] = any(p.requires_grad for p in own)
        return {name: (getattr(layer, name).detach().clone(), trained) for name, trained in trains.items()}


def instead_of(layer: nn.Module, plain: nn.Module, told: str) -> nn.Module:
    """The plain layer, which knows what it stands instead of, and how that computes its weight."""
    plain.__dict__[_BEFORE] = (layer, told)
    return plain


def lost(layer: nn.Module) -> str:
    """How the layer that a plain one stands instead of computes its weight; "" where it stands instead of none."""
    before: tuple[nn.Module, str] = layer.__dict__.get(_BEFORE, (layer, ""))
    return before[1]


def restore_untouched(network: nn.Module, folded: Collection[nn.Module]) -> None:
    """Gives layers of a network that are not to be folded their own way of computing their weight back, in place."""
    instead = {}
    for layer in list(network.modules()):
        if _BEFORE in layer.__dict__:
            original, _ = layer.__dict__.pop(_BEFORE)
            if layer not in folded:
                instead[layer] = original
    with_layers(network, instead)


def with_layers(network: nn.Module, instead: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The network with other layers in the place of some, under all their names; changed in place."""
    for module in list(network.modules()) if instead else ():
        for name, child in module._modules.items():
            if child is not None and child in instead:
                module._modules[name] = instead[child]
    return instead.get(network, network)
