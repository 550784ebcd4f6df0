"""Layers that the user's code writes out as calls of torch's functions, made layers of torch's own.

`F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, …)` in the forward of a module makes that
module a BatchNorm at that place. In a copy of the network, the module gets torch's class and the call's options, its
children and tensors stay; a module with other tensors too gets the layer as a child, named like the weight. What is
known of torch's layers then holds for them, and folding puts the user's classes back.

Where the weight is computed first, as in a convolution that standardises it, and nothing else is done in that forward,
the layer takes the module's place: it holds the weight that was computed, and stays where something is folded into it.
"""

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...layers.kinds import BATCH_NORM
from ...layers.narrowing import has_hooks
from .calls import LayerCall, Spans, layer_call
from .computed import value_of


@dataclass
class PlainLayer:
    """One layer to be made.

    Attributes:
        owner: path of the module that holds the tensors.
        names: what torch's layer calls a tensor → what the owner calls it.
        kind: torch's class.
        options: of its making.
        computing: nodes that compute tensors of it, if any are computed.
        values: what torch's layer calls such a tensor → its value, and whether it is made of trained ones.
        calls: the nodes that become calls of the layer.
        counters: nodes that count batches, which torch's layer does itself.
        added: calls whose bias the forward computes → it, which is added to what the layer yields.
        alone: whether the owner holds nothing else, and so becomes the layer.
    """

    owner: str
    names: dict[str, str]
    kind: type[nn.Module]
    options: dict[str, Any]
    computing: set[fx.Node] = field(default_factory=set)
    values: dict[str, tuple[Tensor, bool]] = field(default_factory=dict)
    calls: list[fx.Node] = field(default_factory=list)
    counters: list[fx.Node] = field(default_factory=list)
    added: dict[fx.Node, fx.Node] = field(default_factory=dict)
    alone: bool = False

    @staticmethod
    def of(call: LayerCall, network: nn.Module) -> "PlainLayer":
        """The layer of one call."""
        values = {role: value_of(nodes, network) for role, nodes in call.computed.items()}
        computing = {node for nodes in call.computed.values() for node in nodes}
        return PlainLayer(call.owner, call.names, call.kind, call.options, computing, values)

    @property
    def path(self) -> str:
        """Where the layer stands."""
        return self.owner if self.alone or self.values else f"{self.owner}.{self.names['weight']}".lstrip(".")

    def is_like(self, other: "PlainLayer") -> bool:
        """Whether it is the same layer; a momentum counts in training alone."""
        mine, theirs = ({**layer.options, "momentum": None} for layer in (self, other))
        if (self.path, self.names, self.kind, mine) != (other.path, other.names, other.kind, theirs):
            return False
        roles = self.values.keys()
        return roles == other.values.keys() and all(torch.equal(self.values[r][0], other.values[r][0]) for r in roles)


def find_plain_layers(graph: fx.Graph, network: nn.Module, spans: Spans) -> dict[str, PlainLayer]:
    """The layers that a graph of the network's, in the mode that it is in, writes out; by their paths."""
    found: dict[tuple[str, ...], PlainLayer | None] = {}
    for node in graph.nodes:
        call = layer_call(node, network, spans)
        if call is None or has_hooks(network.get_submodule(call.owner)):
            continue
        layer = PlainLayer.of(call, network)
        key = (layer.owner, *sorted(layer.names.values()))
        known = found.setdefault(key, layer)
        if known is not None and known.is_like(layer):
            known.calls.append(node)
            if call.added is not None:
                known.added[node] = call.added
            known.computing |= layer.computing
        else:
            found[key] = None
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    reads: dict[str, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes if found else ():
        if node.op == "get_attr":
            reads[str(node.target)].append(node)
    layers = [x for x in found.values() if x is not None and x.owner not in called and _is_whole(x, reads, network)]
    return {layer.path: layer for layer in layers}


def depends_on_the_mode(layers: Mapping[str, PlainLayer]) -> bool:
    """Whether one mode alone does not tell what the layers are."""
    return any(layer.kind in BATCH_NORM.classes for layer in layers.values())


def call_plain_layers(graph: fx.Graph, layers: Iterable[PlainLayer]) -> None:
    """Makes the calls of functions calls of layers."""
    for layer in layers:
        for node in layer.calls:
            with graph.inserting_before(node):
                call = graph.call_module(layer.path, (node.args[0] if node.args else node.kwargs["input"],))
                call.meta = node.meta
                if node in layer.added:
                    call = graph.call_function(operator.add, (call, layer.added[node]))
                    call.meta = {**node.meta}
            node.replace_all_uses_with(call)
        for node in (*layer.calls, *layer.counters):
            _erase(graph, node)
        for node in reversed(list(graph.nodes) if layer.computing else []):
            if node in layer.computing and not node.users:
                graph.erase_node(node)


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Erases a node, and what reads an attribute for it alone."""
    sources = node.all_input_nodes
    graph.erase_node(node)
    for source in sources:
        if not source.users and source.op == "get_attr":
            graph.erase_node(source)


def _is_whole(layer: PlainLayer, reads: Mapping[str, Sequence[fx.Node]], network: nn.Module) -> bool:
    """Whether nothing else reads the tensors; notes what only counts batches, and whether the owner holds no others."""
    owner = network.get_submodule(layer.owner)
    prefix = f"{layer.owner}." if layer.owner else ""
    read = {node for name in layer.names.values() for node in reads.get(f"{prefix}{name}", ())}
    if any(set(node.users) - {*layer.calls, *layer.computing} for node in read | layer.computing):
        return False
    for node in reads.get(f"{prefix}num_batches_tracked", ()) if "running_mean" in layer.names else ():
        if not all(user.target == "add_" and not user.users for user in node.users):
            return False
        layer.counters += list(node.users)
    if layer.values:
        layer.alone = True
        return bool(layer.owner)
    held = {name for name, value in (*owner._parameters.items(), *owner._buffers.items()) if value is not None}
    others = held - {*layer.names.values(), "num_batches_tracked"}
    layer.alone = bool(layer.owner) and not others and all(role == name for role, name in layer.names.items())
    in_groups = layer.options.get("groups", 1) > 1 and "in_channels" in layer.options
    return layer.alone or not (layer.counters or in_groups)
