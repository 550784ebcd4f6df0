"""What a network costs, as a function of its groups' widths: exact, and fast enough to be asked thousands of times.

MACs are multiply-accumulates of one forward pass of one example: what `torch.utils.flop_counter` counts as two FLOPs.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from ..errors import NetworkError
from .channels.groups import Analysis, ChannelGroup
from .channels.layouts import Layout
from .channels.parameters import held_tensor
from .layers.kinds import CONVOLUTIONS, channel_tensors, has_values_along, kernel_size, kind_of
from .layers.modes import evaluating
from .layers.narrowing import own_tensor
from .tracing.graph import shape_of
from .tracing.inputs import ExampleInputs, call, copied, first_tensor


class Cost(NamedTuple):
    """MACs of one example's forward pass, and the number of parameters."""

    macs: int
    parameters: int


class CostModel:
    """Cost as a quadratic form of the widths: a layer's weights grow with its input's width times its output's.

    Attributes:
        groups: the network's channel groups.
        full: the cost at full width.
    """

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs) -> None:
        analysis = Analysis.of(model, example_inputs)
        self.groups: tuple[ChannelGroup, ...] = analysis.groups
        self._index = {group.name: i + 1 for i, group in enumerate(self.groups)}
        self._whole = np.array([1.0, *(group.width for group in self.groups)])
        size = len(self._whole)
        self._macs, self._parameters = np.zeros((size, size)), np.zeros((size, size))
        counted: set[str] = set()
        one = np.zeros(size)
        one[0] = 1
        evaluated = analysis.graph.traced.evaluated()
        for node in analysis.graph.nodes:
            if node in analysis.graph.roles and node.op == "call_module":
                self._count(node, analysis, counted, runs=node in evaluated)
            elif node in analysis.graph.roles and node.op == "get_attr" and str(node.target) not in counted:
                counted.add(str(node.target))
                self._count_values(node, analysis)
        for node, (times, layouts) in analysis.graph.products.items():
            forms = [self._form(layout, analysis) for layout in layouts]
            positions = times / batch_size(analysis.graph.traced.inputs)
            self._macs += (node in evaluated) * positions * np.outer(*(forms if len(forms) == 2 else (forms[0], one)))
        # What no rule covers does not depend on the widths that can be chosen.
        known = self.cost({})
        inputs = analysis.graph.traced.inputs
        self._macs[0, 0] += count_macs(model, inputs) - known.macs
        holding = analysis.graph.traced.network  # the weights that other tensors may compute in the model
        self._parameters[0, 0] += sum(p.numel() for p in holding.parameters()) - known.parameters
        self.full = self.cost({})._replace(parameters=sum(p.numel() for p in model.parameters()))

    def cost(self, widths: Mapping[str, int]) -> Cost:
        """The cost with these widths; groups that are not named have their full width.

        Raises:
            NetworkError: if a name is unknown.
        """
        w = self._whole.copy()
        for name, width in widths.items():
            if name not in self._index:
                raise NetworkError(f"no channel group is called {name!r}; there are {', '.join(self._index)}")
            w[self._index[name]] = width
        return Cost(round(float(w @ self._macs @ w)), round(float(w @ self._parameters @ w)))

    def _form(self, layout: Layout, analysis: Analysis) -> np.ndarray:
        form = np.zeros(len(self._whole))
        for name, segment in zip(analysis.segment_groups(layout), layout.segments, strict=True):
            if name is None:
                form[0] += segment.size
            else:
                form[self._index[name]] += segment.span
        return form

    def _count_values(self, node: fx.Node, analysis: Analysis) -> None:
        """A parameter that the code itself uses; a buffer is none."""
        layout, held = analysis.graph.layouts[node], held_tensor(analysis.graph.traced.network, str(node.target))
        if isinstance(held, nn.Parameter):
            self._parameters[0] += held.numel() // held.shape[layout.dim] * self._form(layout, analysis)

    def _count(self, node: fx.Node, analysis: Analysis, counted: set[str], *, runs: bool) -> None:
        graph = analysis.graph
        layer, shape = graph.traced.module(node), shape_of(node)
        if graph.roles[node] == "read":
            return self._count_reading(node, analysis, counted, runs=runs)
        kind = kind_of(layer)
        assert shape is not None
        width = self._form(graph.layouts[node], analysis)
        one = np.zeros_like(width)
        one[0] = 1
        source = node.all_input_nodes[0]
        if graph.roles[node] == "carry" and _mixes_positions(layer, graph.layouts[node]):
            positions = prod(shape) / shape[graph.layouts[node].dim] / batch_size(graph.traced.inputs)
            self._macs += runs * positions * layer.weight[0].numel() * np.outer(width, one)  # type: ignore[index]
            return None
        if graph.roles[node] == "write":
            reads = self._form(graph.layouts.get(source) or graph.layout(source, graph.layouts[node].dim), analysis)
        elif kind is not None and has_values_along(layer, graph.layouts[node].dim, len(shape)):
            reads = one if kind.inputs is not None else 0 * one
        else:
            return None
        # Weights of a channel for each that it reads; a layer in groups reads one group of them.
        kernel = _kernel(layer, writes=graph.roles[node] == "write")
        placed = shape_of(source) if kind is not None and kind.at_inputs else shape
        assert placed is not None
        # Of one example: the first dimension need not be the batch, windows or positions may lie in it.
        positions = prod(placed) / placed[graph.layouts[node].dim] / batch_size(graph.traced.inputs)
        self._macs += runs * node.meta.get("share", 1.0) * positions * kernel * np.outer(width, reads)
        if str(node.target) not in counted:
            counted.add(str(node.target))
            if reads.any():
                self._parameters += kernel * np.outer(width, reads)
                self._parameters += (layer.bias is not None) * np.outer(width, one)
            else:
                held = channel_tensors(layer)
                each = sum(x.numel() // len(x) for name, x in held.items() if name in layer._parameters)
                self._parameters += each * np.outer(width, one)
        return None

    def _count_reading(self, node: fx.Node, analysis: Analysis, counted: set[str], *, runs: bool) -> None:
        """What a recurrent layer makes of its input at every step; the rest of it does not depend on that width."""
        graph, source = analysis.graph, node.all_input_nodes[0]
        layer, shape = graph.traced.module(node), shape_of(source)
        weight = own_tensor(layer, "weight")
        assert shape is not None
        assert weight is not None
        reads = self._form(graph.layouts.get(source) or graph.layout(source, len(shape) - 1), analysis)
        steps = prod(shape[:-1]) / batch_size(graph.traced.inputs)
        self._macs[0] += runs * steps * len(weight) * reads
        if str(node.target) not in counted:
            counted.add(str(node.target))
            self._parameters[0] += len(weight) * reads


def _kernel(layer: nn.Module, *, writes: bool) -> float:
    if writes:
        return kernel_size(layer) / int(getattr(layer, "groups", 1))
    weight = layer._parameters.get("weight")
    return 1 if weight is None else prod(weight.shape[1:])


def _mixes_positions(layer: nn.Module, layout: Layout) -> bool:
    """Whether a layer has one weight for all channels, which are its positions or have such."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, CONVOLUTIONS) and layout.dim != 1)


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _recurrent_flops(x: Sequence[int], *weights: Any, **kwargs: Any) -> int:
    """Of one layer in one direction: every weight once at every step, x (steps, batch, channels) or the batch first."""
    return 2 * x[0] * x[1] * sum(prod(weight) for weight in weights[:2])


def _cudnn_flops(x: Sequence[int], weights: Sequence[Sequence[int]], *args: Any, **kwargs: Any) -> int:
    return 2 * x[0] * x[1] * sum(prod(weight) for weight in weights if len(weight) == 2)


# Torch counts attention on every device but the CPU, and recurrent layers where it runs them step by step.
_UNCOUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
    torch.ops.aten._cudnn_rnn: _cudnn_flops,
}


class _AllInOne(ModuleTracker):
    """Counts for no module alone: torch's hooks for these fail where the code hands a parameter to a module."""

    def __enter__(self) -> "_AllInOne":
        return self

    def __exit__(self, *args: object) -> None:
        pass


def count_macs(model: nn.Module, inputs: tuple[object, ...]) -> int:
    """MACs of one example's forward pass, counted by torch while the network runs; the model's mode is kept."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whose products are not counted
    try:
        counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
        counter.mod_tracker = _AllInOne()
        with evaluating(model), counter:
            call(model, copied(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return round(counter.get_total_flops() / 2 / batch_size(inputs))


def batch_size(inputs: tuple[object, ...]) -> int:
    """The number of examples in the forward's arguments."""
    first = first_tensor(inputs)
    assert first is not None
    return len(first)
