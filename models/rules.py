"""What each kind of operation does to channels: one short rule an operation, found by its module type or function.

A rule calls `ChannelGraph.write`, `carry` or `fix`. Whatever has no rule is fixed, with its name as the reason; a new
kind of layer is one new rule.
"""

import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from .channels import ChannelGraph, label
from .layouts import Layout, Segment
from .narrowing import BATCH_NORMS, CONVOLUTIONS, FROZEN_BATCH_NORM, INSTANCE_NORMS, qualified_name
from .tracing import shape_of
from .values import follow_values, reshaped

Rule = Callable[[fx.Node, ChannelGraph], None]

MODULE_RULES: dict[type[nn.Module], Rule] = {}
FUNCTION_RULES: dict[Callable[..., Any], Rule] = {}
METHOD_RULES: dict[str, Rule] = {}
# Of libraries that are not imported for their rules alone, by qualified name.
NAMED_RULES: dict[str, Rule] = {}


_OUTPUT = "it is the network's output"


def follow(node: fx.Node, graph: ChannelGraph) -> None:
    """Applies the rule of one node."""
    if node.op == "output":
        sources = list(node.all_input_nodes)
        fx.map_arg(graph.traced.evaluation, sources.append)
        for source in sources:
            if source in graph.layouts:
                graph.layouts[source].fix(_OUTPUT)
    elif node.op == "get_attr":
        follow_values(node, graph)
    elif node.op == "call_module":
        kind = parametrize.type_before_parametrizations(graph.traced.module(node))
        (MODULE_RULES.get(kind) or NAMED_RULES.get(qualified_name(kind), _unknown))(node, graph)
    elif node.op == "call_function" and callable(node.target):
        (FUNCTION_RULES.get(node.target) or NAMED_RULES.get(qualified_name(node.target), _unknown))(node, graph)
    elif node.op == "call_method":
        METHOD_RULES.get(str(node.target), _unknown)(node, graph)


def _for(
    *,
    modules: Iterable[type[nn.Module]] = (),
    functions: Iterable[Callable[..., Any]] = (),
    methods: str = "",
    named: Iterable[str] = (),
) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        NAMED_RULES.update(dict.fromkeys(named, rule))
        MODULE_RULES.update(dict.fromkeys(modules, rule))
        FUNCTION_RULES.update(dict.fromkeys(functions, rule))
        METHOD_RULES.update(dict.fromkeys(methods.split(), rule))
        return rule

    return register


def _types(names: str) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(nn, name) for name in names.split())


def _functions(library: Any, names: str) -> tuple[Callable[..., Any], ...]:
    return tuple(getattr(library, name) for name in names.split())


def _source(node: fx.Node) -> fx.Node | None:
    return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None


def _known(source: fx.Node | None, graph: ChannelGraph) -> Layout | None:
    return None if source is None else graph.layouts.get(source)


def _unknown(node: fx.Node, graph: ChannelGraph) -> None:
    if _is_container(node) and all(user.op == "output" or _is_container(user) for user in node.users):
        return graph.fix(node, _OUTPUT)
    if node.op == "call_module":
        name = type(graph.traced.module(node)).__name__
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return graph.fix(node, f"{name} is not known to treat each channel on its own")


def _is_container(node: fx.Node) -> bool:
    """Whether a node puts tensors into a named tuple or an ordered dict."""
    return isinstance(node.target, type) and issubclass(node.target, tuple | OrderedDict)


@_for(modules=CONVOLUTIONS)
def _convolution(node: fx.Node, graph: ChannelGraph) -> None:
    module = graph.traced.module(node)
    assert isinstance(module, CONVOLUTIONS)
    shape = shape_of(node.args[0])
    if shape is None or len(shape) != module.weight.dim():
        graph.fix(node, f"{node.target} is called without a batch dimension")
    elif module.groups == 1:
        graph.write(node)
    elif module.groups == module.in_channels == module.out_channels:
        graph.carry(node, graph.layout(node.args[0]))
    else:
        graph.fix(node, f"{node.target} is a convolution in {module.groups} groups")


@_for(modules=(nn.Linear,))
def _linear(node: fx.Node, graph: ChannelGraph) -> None:
    shape = shape_of(node.args[0])
    if shape is None or len(shape) < 2:
        graph.fix(node, f"{node.target} is called without a batch dimension")
    else:
        graph.write(node, dim=len(shape) - 1)


_PER_CHANNEL = (*BATCH_NORMS, *INSTANCE_NORMS, nn.PReLU)


@_for(modules=_PER_CHANNEL, named=(FROZEN_BATCH_NORM,))
def _per_channel(node: fx.Node, graph: ChannelGraph) -> None:
    """Layers with values of each channel in dimension 1."""
    module, shape = graph.traced.module(node), shape_of(node)
    if (
        isinstance(module, INSTANCE_NORMS)
        and shape is not None
        and len(shape) != INSTANCE_NORMS.index(type(module)) + 3
    ):
        return graph.fix(node, f"{node.target} is called without a batch dimension")
    return graph.carry(node, graph.layout(node.args[0]))


@_for(modules=_types("LayerNorm GroupNorm LocalResponseNorm RMSNorm Softmax Softmax2d LogSoftmax MultiheadAttention"))
def _mixing(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{type(graph.traced.module(node)).__name__} mixes channels")


@_for(
    functions=(
        *_functions(F, "layer_norm group_norm softmax log_softmax normalize scaled_dot_product_attention"),
        *_functions(torch, "softmax log_softmax"),
    ),
    methods="softmax log_softmax",
)
def _mixing_function(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{label(node)} mixes channels")


_ACTIVATIONS = _types(
    "ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Hardtanh Hardswish Hardsigmoid Hardshrink "
    "Softshrink Softplus Softsign LogSigmoid Tanhshrink Threshold Dropout Identity"
)
_ACTIVATION_FUNCTIONS = (
    *_functions(
        F,
        "relu relu6 leaky_relu elu celu selu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid softplus "
        "logsigmoid dropout",
    ),
    *_functions(torch, "relu sigmoid tanh abs clamp exp neg"),
    operator.neg,
)


@_for(
    modules=_ACTIVATIONS,
    functions=_ACTIVATION_FUNCTIONS,
    methods="relu relu_ sigmoid sigmoid_ tanh tanh_ clamp clamp_ abs exp neg contiguous clone detach",
    named=("torchvision.ops.stochastic_depth.stochastic_depth",),
)
def _elementwise(node: fx.Node, graph: ChannelGraph) -> None:
    source = _source(node)
    if source is None or source not in graph.layouts or len(graph.tensors(node)) != 1:
        return _unknown(node, graph)
    return graph.carry(node, graph.layouts[source])


_SPATIAL = _types(
    "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d "
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "Dropout1d Dropout2d Dropout3d Upsample UpsamplingNearest2d UpsamplingBilinear2d "
    "ZeroPad2d ConstantPad2d ReflectionPad2d ReplicationPad2d"
)
_SPATIAL_FUNCTIONS = (
    *_functions(F, "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d interpolate dropout2d"),
    *_functions(torch, "max_pool2d adaptive_avg_pool1d"),
)


@_for(modules=_SPATIAL, functions=_SPATIAL_FUNCTIONS)
def _spatial(node: fx.Node, graph: ChannelGraph) -> None:
    """Pooling, padding and the like: the dimensions behind the channels."""
    source = _source(node)
    shape, out = shape_of(source), shape_of(node)
    if shape is None or out is None or len(shape) < 3 or len(graph.tensors(node)) != 1 or shape[1] != out[1]:
        return _unknown(node, graph)
    rank = re.search(r"([123])d$", graph.operation(node))
    if rank is not None and len(shape) != 2 + int(rank[1]):
        return graph.fix(node, f"{label(node)} is called without a batch dimension")
    return graph.carry(node, graph.layout(source))


@_for(functions=(F.pad,))
def _pad(node: fx.Node, graph: ChannelGraph) -> None:
    shape, sizes = shape_of(node.args[0]), node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
    behind_channels = shape is not None and isinstance(sizes, list | tuple) and len(sizes) <= 2 * (len(shape) - 2)
    if behind_channels and len(graph.tensors(node)) == 1:
        return graph.carry(node, graph.layout(node.args[0]))
    return graph.fix(node, "its channels are padded")


_ARITHMETIC = (
    *_functions(operator, "add sub mul truediv iadd isub imul itruediv"),
    *_functions(torch, "add sub mul div maximum minimum"),
)


@_for(functions=_ARITHMETIC, methods="add sub mul div add_ sub_ mul_ div_")
def _arithmetic(node: fx.Node, graph: ChannelGraph) -> None:
    """Tensors with tensors or numbers: operands of the channels' full width share their group."""
    shape = shape_of(node)
    operands = graph.tensors(node)
    if shape is None:
        if any(source in graph.shapes for source in node.all_input_nodes):
            _unknown(node, graph)
        return None
    known = [graph.layouts[x] for x in operands if x in graph.layouts and len(shape_of(x) or ()) == len(shape)]
    if not known:
        return _unknown(node, graph)
    dim = known[0].dim
    wide: list[Layout] = []
    for operand in operands:
        operand_shape = shape_of(operand) or ()
        at = dim - (len(shape) - len(operand_shape))
        if at < 0 or (operand_shape[at] == 1 and shape[dim] != 1):
            if operand in graph.layouts:
                graph.layouts[operand].fix(f"{node.name} spreads it over all channels of another tensor")
        elif operand in graph.layouts:
            layout = graph.layouts[operand]
            wide.append(Layout(layout.dim + len(shape) - len(operand_shape), layout.segments))
        else:
            unwritten = f"{node.name} combines it with {label(operand)}, which no layer writes"
            return graph.fix(node, graph.lost.get(operand, unwritten))
    if not all(wide[0].unite(other) for other in wide[1:]):
        return graph.fix(node, f"{node.name} combines tensors whose channels do not line up")
    return graph.carry(node, wide[0])


@_for(functions=(torch.cat, torch.concat))
def _concatenation(node: fx.Node, graph: ChannelGraph) -> None:
    parts = node.args[0] if node.args else None
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    shape = shape_of(node)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int) or shape is None:
        return _unknown(node, graph)
    layouts = [graph.layouts.get(part) for part in parts if isinstance(part, fx.Node)]
    first = next((layout for layout in layouts if layout is not None), None)
    if first is None or len(layouts) != len(parts):
        return _unknown(node, graph)
    dim %= len(shape)
    if dim == first.dim:
        segments = tuple(segment for part in parts for segment in graph.layout(part, dim).segments)
        return graph.carry(node, Layout(dim, segments))
    if not all(layout is not None and first.unite(layout) for layout in layouts):
        return graph.fix(node, f"{node.name} joins tensors whose channels do not line up")
    return graph.carry(node, first)


@_for(functions=(torch.permute, torch.transpose), methods="permute transpose")
def _permutation(node: fx.Node, graph: ChannelGraph) -> None:
    """The channels move to another dimension; the batch stays first."""
    source = _source(node)
    layout, shape = _known(source, graph), shape_of(source)
    axes: Any = node.args[1:]
    if layout is None or shape is None or node.kwargs:
        return _unknown(node, graph)
    if len(axes) == 1 and isinstance(axes[0], tuple | list):
        axes = axes[0]
    if not all(isinstance(axis, int) for axis in axes):
        return _unknown(node, graph)
    axes = [axis % len(shape) for axis in axes]
    if node.target in (torch.transpose, "transpose"):
        swap = dict(zip(axes, reversed(axes), strict=True))
        axes = [swap.get(axis, axis) for axis in range(len(shape))]
    if axes[0] != 0:
        return graph.fix(node, f"{node.name} moves the batch dimension")
    return graph.carry(node, Layout(axes.index(layout.dim), layout.segments))


@_for(modules=(nn.Flatten,), functions=(torch.flatten, torch.reshape), methods="flatten view reshape")
def _flatten(node: fx.Node, graph: ChannelGraph) -> None:
    """(N, C, *) to (N, C·prod(*)), the number of features left open: written out, it would hard-code the width."""
    source = _source(node)
    shape, out, layout = shape_of(source), shape_of(node), _known(source, graph)
    if shape is None or out is None or layout is None:
        return _unknown(node, graph)
    if (values := reshaped(node, graph)) is not None:
        return graph.carry(node, values)
    if layout.dim == 1 and len(out) > 2 and shape[:2] == out[:2] and _flattens_from(node, 2):
        return graph.carry(node, layout)  # positions alone are flattened: (N, C, H·W)
    keeps_batch = shape[0] == out[0] and len(out) == 2 and layout.dim == 1
    if not keeps_batch or not _leaves_features_open(node):
        return graph.fix(node, f"{node.name} hard-codes or rearranges its shape")
    span = prod(shape[2:])
    return graph.carry(node, Layout(1, tuple(Segment(s.channels, s.span * span) for s in layout.segments)))


def _flattens_from(node: fx.Node, first: int) -> bool:
    if node.target not in (torch.flatten, "flatten"):
        return False
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    return bool(start == first)


def _leaves_features_open(node: fx.Node) -> bool:
    if node.op == "call_module" or node.target in (torch.flatten, "flatten"):
        return True
    sizes: Any = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    return len(sizes) == 2 and sizes[0] != -1 and sizes[1] == -1 and not node.kwargs


@_for(functions=(torch.mean, torch.sum, torch.amax), methods="mean sum amax")
def _spatial_reduction(node: fx.Node, graph: ChannelGraph) -> None:
    source = _source(node)
    layout, shape = _known(source, graph), shape_of(source)
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if layout is None or shape is None or layout.dim != 1 or dims is None:
        return _unknown(node, graph)
    axes = {axis % len(shape) for axis in (dims if isinstance(dims, list | tuple) else (dims,))}
    if axes & {0, 1}:
        return graph.fix(node, f"{node.name} reduces over its channels or the batch")
    return graph.carry(node, layout)


@_for(functions=(getattr,), methods="size dim")
def _attribute(node: fx.Node, graph: ChannelGraph) -> None:
    """A tensor's shape may be read, its channel count may not."""
    source = _source(node)
    layout = _known(source, graph)
    if layout is None or node.target == "dim" or (node.op == "call_function" and node.args[1] in ("dtype", "device")):
        return
    if node.op == "call_function" and node.args[1] != "shape":
        _unknown(node, graph)
    elif len(node.args) == 1 or node.op == "call_function":
        graph.shapes[node] = layout
    else:
        _read_size(layout, node.args[1], shape_of(source) or ())


@_for(functions=(operator.getitem,))
def _item(node: fx.Node, graph: ChannelGraph) -> None:
    source = _source(node)
    if source is not None and source in graph.shapes:
        _read_size(graph.shapes[source], node.args[1], shape_of(_source(source)) or ())
    elif (values := reshaped(node, graph)) is not None:
        graph.carry(node, values)
    else:
        _unknown(node, graph)


def _read_size(layout: Layout, index: Any, shape: tuple[int, ...]) -> None:
    positions = range(len(shape))
    plain = isinstance(index, int) or (
        isinstance(index, slice) and all(x is None or isinstance(x, int) for x in (index.start, index.stop, index.step))
    )
    chosen: Any = positions[index] if plain else positions
    if layout.dim in (chosen if isinstance(chosen, range) else (chosen,)):
        layout.fix("the code reads its number of channels")
