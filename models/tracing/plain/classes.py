"""Layers that the code writes out, put in place in a copy of the network; and the user's classes given back."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ...layers.reparametrised import instead_of, with_layers
from .finding import PlainLayer

_BEFORE = "_before_branchfold"
_NAMES = "_names_before_branchfold"
_ORDER = "_order_before_branchfold"
_HELD = ("_parameters", "_buffers")

_OF_MODULES = frozenset(vars(nn.Module()))


class _Before:
    """What a module was before it became a layer of torch's, in plain numbers; copies of it share this.

    Attributes:
        told: its class, its attributes under names that the layer uses, the layer's, and its tensors' names in order.
    """

    def __init__(self, *told: Any) -> None:
        self.told = told

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Before":
        return self


def make_plain(network: nn.Module, layers: Iterable[PlainLayer]) -> None:
    """Puts the layers in place, in a copy of the network."""
    for layer in layers:
        owner = network.get_submodule(layer.owner)
        tensors = {role: _tensor(owner, name) for role, name in layer.names.items()}
        made = layer.kind(**layer.options, device="meta")
        if layer.values:
            for role, (value, trained) in layer.values.items():
                made._parameters[role] = nn.Parameter(value, trained)
            _hold(made, tensors)
            made.training = owner.training
            with_layers(network, {owner: instead_of(owner, made, f"the forward of {type(owner).__name__}")})
        elif layer.alone:
            plain = {key: value for key, value in made.__dict__.items() if key not in _OF_MODULES}
            before = {key: owner.__dict__[key] for key in plain if key in owner.__dict__}
            owner.__dict__[_BEFORE] = _Before(type(owner), before, copy.deepcopy(plain), _names_held(owner))
            owner.__dict__.update(plain)
            owner.__class__ = layer.kind
            for kind in _HELD:
                getattr(owner, kind).update({k: None for k in getattr(made, kind) if k not in getattr(owner, kind)})
        else:
            owner.__dict__.setdefault(_ORDER, _names_held(owner))
            for name in layer.names.values():
                owner._parameters.pop(name, None)
                owner._buffers.pop(name, None)
            _hold(made, tensors)
            made.__dict__[_NAMES] = layer.names
            owner._modules[layer.names["weight"]] = made
            made.training = owner.training


def _names_held(module: nn.Module) -> dict[str, list[str]]:
    """The names of its own tensors, in their order."""
    return {kind: list(getattr(module, kind)) for kind in _HELD}


def _hold(layer: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for role, tensor in tensors.items():
        if isinstance(tensor, nn.Parameter):
            layer._parameters[role] = tensor
        else:
            layer._buffers[role] = tensor


def names_of(layer: nn.Module) -> dict[str, str]:
    """What torch's layer calls a tensor → what the user's code calls it, of one that stands under a weight's name."""
    names: dict[str, str] = layer.__dict__.get(_NAMES, {})
    return names


def read_as(path: str, layer: nn.Module) -> str:
    """The path of the module whose attributes the user's code reads for a layer's."""
    return path.rpartition(".")[0] if _NAMES in layer.__dict__ else path


def _tensor(owner: nn.Module, name: str) -> Tensor:
    part, _, own = name.rpartition(".")
    found: Tensor = getattr(owner.get_submodule(part), own)
    return found


def restore_classes(network: nn.Module) -> None:
    """Gives modules that became layers of torch's their own classes back, with the tensors that the layers have now."""
    for module in list(network.modules()):
        for key, layer in list(module._modules.items()):
            if layer is not None and _NAMES in layer.__dict__:
                del module._modules[key]
                for role, name in layer.__dict__[_NAMES].items():
                    kind = "_parameters" if role in layer._parameters else "_buffers"
                    getattr(module, kind)[name] = getattr(layer, kind)[role]
        for kind, names in module.__dict__.pop(_ORDER, {}).items():
            tensors = getattr(module, kind)
            for name in [name for name in names if name in tensors]:  # optimizers know parameters by their places
                tensors[name] = tensors.pop(name)
        if _BEFORE in module.__dict__:
            _restore_class(module)


def _restore_class(module: nn.Module) -> None:
    kind, before, plain, held = module.__dict__.pop(_BEFORE).told
    for key, made in plain.items():
        if key not in before:
            del module.__dict__[key]
        elif not _same(before[key], made):  # else it tells the width, as it does now
            module.__dict__[key] = copy.deepcopy(before[key])
    for tensors, names in held.items():
        for name in set(getattr(module, tensors)) - set(names):
            del getattr(module, tensors)[name]
    module.__class__ = kind


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)
