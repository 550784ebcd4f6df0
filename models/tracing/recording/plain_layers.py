"""Layers that the user's code writes out as calls of torch's functions, made layers of torch's own.

`F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, …)` in the forward of a module makes that
module a BatchNorm at that place. In a copy of the network, the module gets torch's class and the call's options, its
children and tensors stay; a module with other tensors too gets the layer as a child, named like the weight. What is
known of torch's layers then holds for them, and folding puts the user's classes back.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ...layers.kinds import BATCH_NORM
from ...layers.narrowing import has_hooks
from .attributes import AttributeNumber

_TENSORS = ("weight", "bias", "running_mean", "running_var")
_BEFORE = "_before_branchfold"
_NAMES = "_names_before_branchfold"


@dataclass
class PlainLayer:
    """One layer to be made.

    Attributes:
        owner: path of the module that holds the tensors.
        names: what torch's layer calls a tensor → what the owner calls it.
        kind: torch's class.
        options: of its making.
        calls: the nodes that become calls of the layer.
        kernels: nodes that yield a size of the kernel's, which is the same at every width → that size.
        counters: nodes that count batches, which torch's layer does itself.
        added: calls whose bias the forward computes → it, which is added to what the layer yields.
        alone: whether the owner holds nothing else, and so becomes the layer.
    """

    owner: str
    names: dict[str, str]
    kind: type[nn.Module]
    options: dict[str, Any]
    calls: list[fx.Node] = field(default_factory=list)
    kernels: dict[fx.Node, int] = field(default_factory=dict)
    counters: list[fx.Node] = field(default_factory=list)
    added: dict[fx.Node, fx.Node] = field(default_factory=dict)
    alone: bool = False

    @property
    def path(self) -> str:
        """Where the layer stands."""
        return self.owner if self.alone else f"{self.owner}.{self.names['weight']}".lstrip(".")

    def is_like(self, other: "PlainLayer") -> bool:
        """Whether it is the same layer; a momentum counts in training alone."""
        mine, theirs = ({**layer.options, "momentum": None} for layer in (self, other))
        return (self.path, self.names, self.kind, mine) == (other.path, other.names, other.kind, theirs)


def find_plain_layers(graph: fx.Graph, network: nn.Module) -> dict[str, PlainLayer]:
    """The layers that a graph of the network's, in the mode that it is in, writes out; by their paths."""
    found: dict[tuple[str, ...], PlainLayer | None] = {}
    for node in graph.nodes:
        layer = _layer(node, network)
        if layer is None:
            continue
        key = (layer.owner, *sorted(layer.names.values()))
        known = found.setdefault(key, layer)
        if known is not None and known.is_like(layer):
            known.calls.append(node)
            known.added.update(layer.added)
        else:
            found[key] = None
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    layers = [x for x in found.values() if x is not None and x.owner not in called and _is_whole(x, graph, network)]
    return {layer.path: layer for layer in layers}


def depends_on_the_mode(layers: Mapping[str, PlainLayer]) -> bool:
    """Whether one mode alone does not tell what the layers are."""
    return any(layer.kind in BATCH_NORM.classes for layer in layers.values())


def call_plain_layers(graph: fx.Graph, layers: Iterable[PlainLayer]) -> None:
    """Makes the calls of functions calls of layers."""
    for layer in layers:
        for node, size in layer.kernels.items():
            for user in list(node.users):
                user.args, user.kwargs = fx.map_arg((user.args, user.kwargs), functools.partial(_known, {node: size}))
        for node in layer.calls:
            with graph.inserting_before(node):
                call = graph.call_module(layer.path, (node.args[0] if node.args else node.kwargs["input"],))
                call.meta = node.meta
                if node in layer.added:
                    call = graph.call_function(operator.add, (call, layer.added[node]))
                    call.meta = {**node.meta}
            node.replace_all_uses_with(call)
        for node in (*layer.calls, *layer.counters, *layer.kernels):
            _erase(graph, node)


def _known(sizes: Mapping[fx.Node, int], node: fx.Node) -> fx.Node | int:
    return sizes.get(node, node)


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Erases a node, and what reads an attribute for it alone."""
    sources = node.all_input_nodes
    graph.erase_node(node)
    for source in sources:
        if not source.users and (source.op == "get_attr" or source.target is getattr):
            _erase(graph, source)


def make_plain(network: nn.Module, layers: Iterable[PlainLayer]) -> None:
    """Puts the layers in place, in a copy of the network."""
    for layer in layers:
        owner = network.get_submodule(layer.owner)
        tensors = {role: getattr(owner, name) for role, name in layer.names.items()}
        made = layer.kind(**layer.options, device="meta")
        if layer.alone:
            plain = {key: value for key, value in made.__dict__.items() if key not in nn.Module().__dict__}
            before = {key: owner.__dict__[key] for key in plain if key in owner.__dict__}
            held = {"_parameters": list(owner._parameters), "_buffers": list(owner._buffers)}
            owner.__dict__[_BEFORE] = (type(owner), before, plain, held)
            owner.__dict__.update(plain)
            owner.__class__ = layer.kind
            for kind in ("_parameters", "_buffers"):
                getattr(owner, kind).update({k: None for k in getattr(made, kind) if k not in getattr(owner, kind)})
        else:
            for name in layer.names.values():
                owner._parameters.pop(name, None)
                owner._buffers.pop(name, None)
            for role, tensor in tensors.items():
                (made._parameters if isinstance(tensor, nn.Parameter) else made._buffers)[role] = tensor
            made.__dict__[_NAMES] = layer.names
            owner._modules[layer.names["weight"]] = made
            made.training = owner.training


def restore_classes(network: nn.Module) -> None:
    """Gives modules that became layers of torch's their own classes back, with the tensors that the layers have now."""
    for module in list(network.modules()):
        for key, layer in list(module._modules.items()):
            if layer is not None and _NAMES in layer.__dict__:
                del module._modules[key]
                for role, name in layer.__dict__[_NAMES].items():
                    kind = "_parameters" if role in layer._parameters else "_buffers"
                    getattr(module, kind)[name] = getattr(layer, kind)[role]
        if _BEFORE in module.__dict__:
            _restore_class(module)


def _restore_class(module: nn.Module) -> None:
    kind, before, plain, held = module.__dict__.pop(_BEFORE)
    for key, made in plain.items():
        if key not in before:
            del module.__dict__[key]
        elif not _same(before[key], made):  # else it tells the width, as it does now
            module.__dict__[key] = before[key]
    for tensors, names in held.items():
        for name in set(getattr(module, tensors)) - set(names):
            del getattr(module, tensors)[name]
    module.__class__ = kind


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _layer(node: fx.Node, network: nn.Module) -> PlainLayer | None:
    """The layer that one call of a function is; None if it is none."""
    reading = _KINDS.get(node.target) if node.op == "call_function" and callable(node.target) else None
    if reading is None or "shape" not in node.meta:
        return None
    parameters, make = reading
    given = dict(zip(parameters, node.args, strict=False)) | node.kwargs
    tensors = {role: given.pop(role, None) for role in _TENSORS}
    given.pop("input", None)
    computed = tensors["bias"] if node.target is F.linear and _is_computed(tensors["bias"]) else None
    if computed is not None:
        tensors["bias"] = None
    held = {role: _held(value, network) for role, value in tensors.items() if value is not None}
    if held.get("weight") is None or None in held.values() or len({owner for owner, _ in held.values()}) != 1:  # type: ignore[misc]
        return None
    if any(isinstance(value, fx.Node) for value in _flat(given.values())):
        return None
    (owner,) = {owner for owner, _ in held.values()}  # type: ignore[misc]
    if not _is_own_shape(given.get("normalized_shape", ()), owner):
        return None
    names = {role: name for role, (_, name) in held.items()}  # type: ignore[misc]
    module = network.get_submodule(owner)
    made = make(getattr(module, names["weight"]), names, given, node.meta["shape"], module)
    if made is None or has_hooks(module):
        return None
    kind, options = made
    return PlainLayer(owner, names, kind, options, added={} if computed is None else {node: computed})


def _is_computed(value: Any) -> TypeGuard[fx.Node]:
    return isinstance(value, fx.Node) and value.op != "get_attr"


def _is_own_shape(numbers: Any, owner: str) -> bool:
    """Whether a norm's shape is the owner's own `normalized_shape`, which folding rewrites with torch's layer."""
    read = [attribute for number in numbers if isinstance(number, AttributeNumber) for attribute in number.terms]
    return len(read) == len(numbers) and all((a.path, a.name) == (owner, "normalized_shape") for a in read)


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


def _is_whole(layer: PlainLayer, graph: fx.Graph, network: nn.Module) -> bool:
    """Whether nothing else reads the tensors; notes what only counts batches, and whether the owner holds no others."""
    owner = network.get_submodule(layer.owner)
    prefix = f"{layer.owner}." if layer.owner else ""
    paths = {f"{prefix}{name}" for name in layer.names.values()}
    counter = f"{prefix}num_batches_tracked"
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in paths:
            others = set(node.users) - set(layer.calls)
            if not all(_reads_kernel(other, layer) for other in others):
                return False
        if node.op == "get_attr" and node.target == counter and "running_mean" in layer.names:
            if not all(user.target == "add_" and not user.users for user in node.users):
                return False
            layer.counters += list(node.users)
    held = {name for name, value in (*owner._parameters.items(), *owner._buffers.items()) if value is not None}
    others = held - {*layer.names.values(), "num_batches_tracked"}
    layer.alone = bool(layer.owner) and not others and all(role == name for role, name in layer.names.items())
    in_groups = layer.options.get("groups", 1) > 1 and "in_channels" in layer.options
    return layer.alone or not (layer.counters or in_groups)


def _reads_kernel(node: fx.Node, layer: PlainLayer) -> bool:
    """Whether a node reads a weight's shape for the size of its kernel alone; notes the sizes."""
    kernel = layer.options.get("kernel_size", ())
    if node.target is not getattr or node.args[1] != "shape" or not kernel:
        return False
    for user in node.users:
        index = user.args[1] if user.target is operator.getitem else None
        if not isinstance(index, int) or index < 2:
            return False
        layer.kernels[user] = kernel[index - 2]
    return True


_Made = tuple[type[nn.Module], dict[str, Any]] | None


def _convolution(kinds: Mapping[int, type[nn.Module]], *, transposed: bool) -> Callable[..., _Made]:
    def make(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
        groups = given.get("groups", 1)
        told = groups == 1 or getattr(owner, "groups", None) == groups  # else the code alone knows the number
        if weight.dim() != len(shape) or not told:
            return None
        first, second = weight.shape[0], weight.shape[1] * groups
        options = {"in_channels": first if transposed else second, "out_channels": second if transposed else first}
        return kinds[weight.dim()], options | given | {"kernel_size": tuple(weight.shape[2:]), "bias": "bias" in names}

    return make


def _linear(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
    return nn.Linear, {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": "bias" in names}


def _batch_norm(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    tracks = "running_mean" in names and "running_var" in names
    if (
        len(shape) not in kinds
        or "bias" not in names
        or given.get("training", False) is not (owner.training or not tracks)
    ):
        return None
    if getattr(owner, "momentum", 0.1) is None:
        return None
    options = {"num_features": len(weight), "eps": given.get("eps", 1e-5), "track_running_stats": tracks}
    return kinds[len(shape)], options | {"momentum": given.get("momentum", 0.1)}


def _layer_norm(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
    options = {"normalized_shape": tuple(weight.shape), "eps": given.get("eps", 1e-5)}
    return nn.LayerNorm, options | {"bias": "bias" in names}


def _rms_norm(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
    return nn.RMSNorm, {"normalized_shape": tuple(weight.shape), "eps": given.get("eps")}


def _group_norm(weight: Tensor, names: Mapping[str, str], given: dict[str, Any], shape: Any, owner: nn.Module) -> _Made:
    if "bias" not in names:
        return None
    return nn.GroupNorm, {**given, "num_channels": len(weight)}


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED_CONVOLUTIONS = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")

_KINDS: dict[Any, tuple[tuple[str, ...], Callable[..., _Made]]] = {
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
