"""What treats every value alike: activations, and arithmetic between tensors."""

import operator

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from .claims import claimed
from .numbers import follow_number
from .registry import functions, not_known, rule_for, source_of, types

_ACTIVATIONS = types(
    "ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Hardtanh Hardswish Hardsigmoid Hardshrink "
    "Softshrink Softplus Softsign LogSigmoid Tanhshrink Threshold Dropout Identity"
)
_ACTIVATION_FUNCTIONS = (
    *functions(
        F,
        "relu relu6 leaky_relu elu celu selu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid softplus "
        "logsigmoid dropout",
    ),
    *functions(torch, "relu sigmoid tanh abs clamp exp neg pow square sqrt rsqrt log"),
    *functions(operator, "neg pow"),
)


@rule_for(
    modules=_ACTIVATIONS,
    functions=_ACTIVATION_FUNCTIONS,
    methods="relu relu_ sigmoid sigmoid_ tanh tanh_ clamp clamp_ abs exp neg pow square sqrt rsqrt log "
    "contiguous clone detach float to",
)
def _elementwise(node: fx.Node, graph: ChannelGraph) -> None:
    source = source_of(node)
    if source is None or source not in graph.layouts or len(graph.tensors(node)) != 1:
        return not_known(node, graph)
    if graph.operation(node) == "pow":
        graph.weigh(node)
    return graph.carry_as(node, source)


_ARITHMETIC = (
    *functions(operator, "add sub mul truediv iadd isub imul itruediv"),
    *functions(torch, "add sub mul div maximum minimum addcmul addcdiv lerp"),
)


@rule_for(functions=_ARITHMETIC, methods="add sub mul div add_ sub_ mul_ div_ addcmul addcdiv lerp")
def _arithmetic(node: fx.Node, graph: ChannelGraph) -> None:
    """Tensors with tensors or numbers: operands of the channels' full width share their group."""
    shape = shape_of(node)
    operands = graph.tensors(node)
    if shape is None:
        return follow_number(node, graph)
    known = [graph.layouts[x] for x in operands if x in graph.layouts and len(shape_of(x) or ()) == len(shape)]
    if not known:
        return not_known(node, graph)
    graph.weigh(node)
    dim = known[0].dim
    wide: list[Layout] = []
    for operand in operands:
        operand_shape = shape_of(operand) or ()
        at = dim - (len(shape) - len(operand_shape))
        if at < 0 or (operand_shape[at] == 1 and shape[dim] != 1):
            if operand in graph.layouts:
                graph.layouts[operand].fix(f"{node.name} spreads it over all channels of another tensor")
        elif (layout := graph.layouts.get(operand) or claimed(operand, at, graph)) is not None:
            wide.append(layout.at(layout.dim + len(shape) - len(operand_shape)))
        else:
            unwritten = f"{node.name} combines it with {label(operand)}, which no layer writes"
            return graph.fix(node, graph.lost.get(operand, unwritten))
    if not all(wide[0].unite(other) for other in wide[1:]):
        return graph.fix(node, f"{node.name} combines tensors whose channels do not line up")
    seconds = [graph.second[x] for x in operands if x in graph.second]
    if not seconds:
        return graph.carry(node, wide[0])
    beside = [x for x in operands if x not in graph.second and not _is_alike_along(x, seconds[0].dim, shape)]
    if beside or not all(seconds[0].unite(other) for other in seconds[1:]):
        return graph.fix(node, f"{node.name} combines products of channels with what has others, or none")
    return graph.carry_pairs(node, wide[0], seconds[0])


def _is_alike_along(operand: fx.Node, dim: int, shape: tuple[int, ...]) -> bool:
    """Whether an operand has one value for all places of a dimension of the result."""
    own = shape_of(operand) or ()
    at = dim - (len(shape) - len(own))
    return at < 0 or own[at] == 1
