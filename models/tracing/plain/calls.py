"""Calls of torch's functions as the layers that they are: torch's class, its options, and the tensors that it holds."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..recording.attributes import AttributeNumber
from .computed import computed_from

_TENSORS = ("weight", "bias", "running_mean", "running_var")


class LayerCall(NamedTuple):
    """One call of a function, as a layer.

    Attributes:
        owner: path of the module that holds the tensors.
        names: what torch's layer calls a tensor → what the owner calls it, in its parts also "part.name".
        computed: what torch's layer calls a tensor that the owner computes from others → the nodes that do, in order;
            where there are any, the layer is all that the owner does.
        kind: torch's class.
        options: of its making.
        added: what the code adds to the layer's result in the same call: a bias of its own making.
    """

    owner: str
    names: dict[str, str]
    computed: dict[str, list[fx.Node]]
    kind: type[nn.Module]
    options: dict[str, Any]
    added: fx.Node | None = None


# Of modules that yield a tensor: their paths, inner ones first, and what each is called with.
Spans = Mapping[fx.Node, list[tuple[str, fx.Node]]]


def layer_call(node: fx.Node, network: nn.Module, spans: Spans) -> LayerCall | None:
    """The layer that one call of a function is; None if it is none.

    Args:
        node: of a graph of the network's.
        network: whose tensors they are.
        spans: what the network's modules yield.
    """
    reading = _KINDS.get(node.target) if node.op == "call_function" and callable(node.target) else None
    if reading is None or "shape" not in node.meta:
        return None
    parameters, make = reading
    given = dict(zip(parameters, node.args, strict=False)) | node.kwargs
    found = _layer(node, make, dict(given), network, spans)
    bias = given.get("bias")
    if found is None and make is _linear and isinstance(bias, fx.Node) and bias.op != "get_attr":
        found = _layer(node, make, {**given, "bias": None}, network, spans)
        found = None if found is None else found._replace(added=bias)
    return found


def _layer(
    node: fx.Node, make: Callable[["_Told"], "_Made"], given: dict[str, Any], network: nn.Module, spans: Spans
) -> LayerCall | None:
    """The layer of a call with these arguments by name."""
    tensors = {role: value for role in _TENSORS if (value := given.pop(role, None)) is not None}
    source = given.pop("input", None)
    weight = tensors.get("weight")
    if not isinstance(weight, fx.Node) or any(isinstance(value, fx.Node) for value in _flat(given.values())):
        return None
    held = {role: found for role, value in tensors.items() if (found := _held(value, network)) is not None}
    computed = {role: nodes for role in tensors.keys() - held if (nodes := computed_from(tensors[role])) is not None}
    if len(held) + len(computed) != len(tensors) or (computed and make not in _COMPUTED):
        return None
    owners = list(dict.fromkeys(owner for owner, _ in held.values()))
    if computed:
        around = [path for path, read in spans.get(node, ()) if read is source]
        owners = [path for path in around if _holds(path, computed.values(), held.values())][:1]
    if len(owners) != 1:
        return None
    owner = owners[0]
    if not _is_own_shape(given.get("normalized_shape", ()), owner, str(weight.target)):
        return None
    sizes: tuple[int, ...] = weight.meta["shape"]
    made = make(_Told(sizes, tensors.keys(), given, node.meta["shape"], network.get_submodule(owner), bool(computed)))
    names = {role: f"{path}.{name}".removeprefix(f"{owner}.") for role, (path, name) in held.items()}
    return None if made is None else LayerCall(owner, {k: n.lstrip(".") for k, n in names.items()}, computed, *made)


def _is_own_shape(numbers: Any, owner: str, weight: str) -> bool:
    """Whether a norm's shape is the owner's own, or its weight's, which folding rewrites with torch's layer."""
    read = [attribute for number in numbers if isinstance(number, AttributeNumber) for attribute in number.terms]
    names = ("normalized_shape", f"{weight.rpartition('.')[2]}.shape")
    return len(read) == len(numbers) and all(a.path == owner and a.name in names for a in read)


def _holds(owner: str, computed: Iterable[list[fx.Node] | None], held: Iterable[tuple[str, str]]) -> bool:
    """Whether all that a layer is made of lies in a module or its parts."""
    read = [str(node.target) for nodes in computed for node in nodes or () if node.op == "get_attr"]
    return all(f"{path}.".startswith(f"{owner}.") or not owner for path in (*read, *(path for path, _ in held)))


def _held(value: Any, network: nn.Module) -> tuple[str, str] | None:
    """Owner and name of a parameter or buffer that a node reads."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    owner, _, name = str(value.target).rpartition(".")
    module = network.get_submodule(owner) if all(_has(network, owner)) else None
    if module is None or name not in (*module._parameters, *module._buffers):
        return None
    return owner, name


def _has(network: nn.Module, path: str) -> Iterable[bool]:
    module: Any = network
    for name in path.split(".") if path else ():
        module = getattr(module, name, None)
        yield isinstance(module, nn.Module)


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


class _Told(NamedTuple):
    """What a call says of its layer.

    Attributes:
        weight: the weight's shape.
        roles: the tensors that are given.
        given: the other arguments.
        shape: of the result.
        owner: the module that holds the tensors.
        alone: whether the layer takes the owner's place, whose code runs no longer.
    """

    weight: tuple[int, ...]
    roles: Collection[str]
    given: dict[str, Any]
    shape: tuple[int, ...]
    owner: nn.Module
    alone: bool


_Made = tuple[type[nn.Module], dict[str, Any]] | None


def _convolution(kinds: Mapping[int, type[nn.Module]], *, transposed: bool) -> Callable[[_Told], _Made]:
    def make(told: _Told) -> _Made:
        groups = told.given.get("groups", 1)
        # Else the code alone knows the number, and goes on running.
        known = told.alone or groups == 1 or getattr(told.owner, "groups", None) == groups
        if len(told.weight) != len(told.shape) or not known:
            return None
        first, second = told.weight[0], told.weight[1] * groups
        channels = {"in_channels": first if transposed else second, "out_channels": second if transposed else first}
        sizes = {"kernel_size": tuple(told.weight[2:]), "bias": "bias" in told.roles}
        return kinds[len(told.weight)], channels | told.given | sizes

    return make


def _linear(told: _Told) -> _Made:
    outputs, inputs = told.weight
    return nn.Linear, {"in_features": inputs, "out_features": outputs, "bias": "bias" in told.roles}


def _batch_norm(told: _Told) -> _Made:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    tracks = "running_mean" in told.roles and "running_var" in told.roles
    if (
        len(told.shape) not in kinds
        or "bias" not in told.roles
        or told.given.get("training", False) is not (told.owner.training or not tracks)
    ):
        return None
    if getattr(told.owner, "momentum", 0.1) is None:
        return None
    options = {"num_features": told.weight[0], "eps": told.given.get("eps", 1e-5), "track_running_stats": tracks}
    return kinds[len(told.shape)], options | {"momentum": told.given.get("momentum", 0.1)}


def _layer_norm(told: _Told) -> _Made:
    options = {"normalized_shape": told.weight, "eps": told.given.get("eps", 1e-5)}
    return nn.LayerNorm, options | {"bias": "bias" in told.roles}


def _rms_norm(told: _Told) -> _Made:
    return nn.RMSNorm, {"normalized_shape": told.weight, "eps": told.given.get("eps")}


def _group_norm(told: _Told) -> _Made:
    return (nn.GroupNorm, {**told.given, "num_channels": told.weight[0]}) if "bias" in told.roles else None


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED_CONVOLUTIONS = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")

_KINDS: dict[Any, tuple[tuple[str, ...], Callable[[_Told], _Made]]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), (_CONVOLUTION, _convolution(_CONVOLUTIONS, transposed=False))),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        (_TRANSPOSED, _convolution(_TRANSPOSED_CONVOLUTIONS, transposed=True)),
    ),
    F.linear: (("input", "weight", "bias"), _linear),
    F.batch_norm: (_NORM, _batch_norm),
    F.layer_norm: (("input", "normalized_shape", "weight", "bias", "eps"), _layer_norm),
    torch.layer_norm: (("input", "normalized_shape", "weight", "bias", "eps"), _layer_norm),
    **dict.fromkeys((F.rms_norm, torch.rms_norm), (("input", "normalized_shape", "weight", "eps"), _rms_norm)),
    F.group_norm: (("input", "num_groups", "weight", "bias", "eps"), _group_norm),
    torch.group_norm: (("input", "num_groups", "weight", "bias", "eps"), _group_norm),
}
# Whose tensors may be computed, by code that folding replaces.
_COMPUTED = {make for parameters, make in _KINDS.values() if parameters in (_CONVOLUTION, _TRANSPOSED)} | {_linear}
