"""Layers of users' classes that are treated as torch's: torch's stand in for them in a copy, and they are put back."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ....errors import NetworkError
from ...layers.copying import deep_copy
from ...layers.equivalences import equivalence_of
from ...layers.kinds import LayerKind, kind_of_class
from ...layers.reparametrised import with_layers
from ..inputs import copied

_BEFORE = "_equivalent_before_branchfold"
# Of the largest value: sums are taken in another order. At least as much, and as many units of the last place.
_TOLERANCE, _UNITS = 1e-4, 64


def stand_in(network: nn.Module, called: Iterable[str]) -> dict[str, nn.Module]:
    """Puts torch's layers in the place of those that are treated as such, in a copy of the network.

    Args:
        network: a copy, changed in place.
        called: paths of the layers that the forward calls.

    Returns:
        Path → torch's layer.

    Raises:
        NetworkError: if what is known of a class does not make torch's layer of it.
    """
    made: dict[str, nn.Module] = {}
    instead: dict[nn.Module, nn.Module] = {}
    for path in dict.fromkeys(called):
        layer = network.get_submodule(path)
        if equivalence_of(layer) is not None:
            made[path] = instead[layer] = instead.get(layer) or torchs_layer(layer, path)
    with_layers(network, instead)
    return made


def torchs_layer(layer: nn.Module, path: str) -> nn.Module:
    """The layer of torch's that holds the tensors of a user's, and knows what it stands in for."""
    known = equivalence_of(layer)
    assert known is not None
    tensors: dict[str, Tensor] = {}
    for name, tensor in (*layer._parameters.items(), *layer._buffers.items()):
        if tensor is not None:
            tensors[known.names.get(name, name)] = tensor
    told = f"treat_as({type(layer).__name__}, {known.kind.__name__})"
    values = {theirs: getattr(layer, mine) for mine, theirs in known.names.items() if hasattr(layer, mine)}
    options = _options(known.kind, layer, values, tensors, f"{told}: {path}")
    try:
        with torch.device("meta"):  # nothing is drawn
            made = known.kind(**options)
    except (TypeError, ValueError) as error:
        raise NetworkError(f"{told}: {path} cannot be made one: {error}") from error
    for name, tensor in tensors.items():
        held = made._parameters if name in made._parameters else made._buffers
        if name not in held:
            raise NetworkError(f"{told}: {path} holds {name!r}, which {known.kind.__name__} has not; tell it in names")
        held[name] = tensor  # type: ignore[assignment]
    for name in made._parameters.keys() - tensors:
        made._parameters[name] = None
    for name in made._buffers.keys() - tensors:
        counter = made._buffers[name]  # of batches, which the user's has not
        made._buffers[name] = None if counter is None else torch.zeros_like(counter, device=_device(tensors))
    made.training = layer.training
    made.__dict__[_BEFORE] = (layer, {theirs: mine for mine, theirs in known.names.items()})
    return made


def _device(tensors: Mapping[str, Tensor]) -> torch.device:
    return next((tensor.device for tensor in tensors.values()), torch.device("cpu"))


def _options(
    kind: type[nn.Module], layer: nn.Module, values: Mapping[str, Any], tensors: Mapping[str, Tensor], told: str
) -> dict[str, Any]:
    """The arguments that make torch's layer: what the user's holds under their names, or what its tensors say."""
    options: dict[str, Any] = {}
    sizes = kind_of_class(kind)
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        if name in ("device", "dtype") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        held = values.get(name, layer.__dict__.get(name))
        if name in ("bias", "affine", "elementwise_affine", "track_running_stats"):
            options[name] = {"bias": "bias", "track_running_stats": "running_mean"}.get(name, "weight") in tensors
        elif held is not None and not isinstance(held, Tensor):
            options[name] = held
        elif (size := _size(name, sizes, tensors.get("weight"))) is not None:
            options[name] = size
        elif parameter.default is parameter.empty:
            raise NetworkError(f"{told} does not say its {name}; tell the attribute that does in names")
    return options


def _size(name: str, kind: LayerKind | None, weight: Tensor | None) -> Any:
    if weight is None or kind is None:
        return None
    if name == "kernel_size":
        return tuple(weight.shape[2:])
    if name == kind.shape:
        return tuple(weight.shape)
    return weight.shape[kind.sizes[name]] if name in kind.sizes else None


def restore_layers(network: nn.Module) -> None:
    """Puts users' layers back that torch's stand in for, with the tensors and sizes that these have now."""
    instead: dict[nn.Module, nn.Module] = {}
    for made in list(network.modules()):
        if _BEFORE not in made.__dict__:
            continue
        layer, names = made.__dict__.pop(_BEFORE)
        for name, tensor in (*made._parameters.items(), *made._buffers.items()):
            own = names.get(name, name)
            for held in (layer._parameters, layer._buffers):
                if held.get(own) is not None:
                    held[own] = tensor
        for theirs in {*names, *made.__dict__} - {*made._parameters, *made._buffers}:
            own, value = names.get(theirs, theirs), made.__dict__.get(theirs)
            before = layer.__dict__.get(own)
            if isinstance(value, int | tuple) and isinstance(before, int | tuple) and not isinstance(value, bool):
                layer.__dict__[own] = _as_before(value, before)
        layer.training = made.training
        instead[made] = layer
    with_layers(network, instead)


def _as_before(value: Any, before: Any) -> Any:
    """A size as the user's class keeps it: one number where torch's has a shape of one."""
    if isinstance(before, int) and isinstance(value, tuple):
        return value[0] if len(value) == 1 else before
    return value


def compared(network: nn.Module, made: Mapping[str, nn.Module]) -> list[RemovableHandle]:
    """Hooks that try each of a network's layers, as it is called, beside what torch's layer makes of the same input."""
    handles = []
    for path, layer in made.items():
        own = network.get_submodule(path)
        told = f"treat_as({type(own).__name__}, {type(layer).__name__}): {path}"
        given: list[Any] = []

        def before(module: nn.Module, args: Any, given: list[Any] = given) -> None:
            given.append(copied(args))  # a layer may work in place

        def behind(
            module: nn.Module,
            args: Any,
            result: Any,
            layer: nn.Module = layer,
            given: list[Any] = given,
            told: str = told,
        ) -> None:
            inputs = given.pop()
            require_equal(result, layer(*copied(inputs)), told)
            _compare_in_training(module, layer, inputs, told)

        handles += [own.register_forward_pre_hook(before), own.register_forward_hook(behind)]
    return handles


def _compare_in_training(own: nn.Module, layer: nn.Module, inputs: Sequence[Any], told: str) -> None:
    """Tries copies in training, unless it is random there; statistics that are kept are compared, too."""
    twins = [deep_copy(module).train() for module in (own, own, layer)]
    for twin in twins:
        twin._forward_hooks.clear()
        twin._forward_pre_hooks.clear()
    try:
        once, again, theirs = (twin(*copied(inputs)) for twin in twins)
    except ValueError:  # too few values for a BatchNorm
        return
    if torch.equal(once, again):
        require_equal(once, theirs, f"{told} in training")
        names = layer.__dict__[_BEFORE][1]
        for name, buffer in twins[2]._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                require_equal(twins[0]._buffers[names.get(name, name)], buffer, f"{told} in training")


def require_equal(mine: Any, theirs: Any, told: str) -> None:
    """Lets two results pass that are the same up to rounding.

    Raises:
        NetworkError: if they are not.
    """
    if not isinstance(mine, Tensor) or not isinstance(theirs, Tensor) or mine.shape != theirs.shape:
        raise NetworkError(f"{told} does not hold: they yield other things")
    if not mine.numel():
        return
    apart, scale = float((mine.double() - theirs.double()).abs().max()), float(theirs.double().abs().max())
    dtype = mine.dtype if mine.dtype.is_floating_point else torch.float32
    if not apart <= max(_TOLERANCE, _UNITS * torch.finfo(dtype).eps) * max(scale, 1e-30):
        raise NetworkError(f"{told} does not hold: on the example inputs they differ by {apart:.2g}")
