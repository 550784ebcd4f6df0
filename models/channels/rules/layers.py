"""Layers with weights, and what mixes channels."""

import torch
import torch.nn.functional as F
from torch import fx, nn

from ...layers.narrowing import BATCH_NORMS, CONVOLUTIONS, FROZEN_BATCH_NORM, INSTANCE_NORMS
from ...tracing.graph import shape_of
from ..graph import ChannelGraph, label
from .registry import functions, rule_for, types


@rule_for(modules=CONVOLUTIONS)
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


@rule_for(modules=(nn.Linear,))
def _linear(node: fx.Node, graph: ChannelGraph) -> None:
    shape = shape_of(node.args[0])
    if shape is None or len(shape) < 2:
        graph.fix(node, f"{node.target} is called without a batch dimension")
    else:
        graph.write(node, dim=len(shape) - 1)


_PER_CHANNEL = (*BATCH_NORMS, *INSTANCE_NORMS, nn.PReLU)


@rule_for(modules=_PER_CHANNEL, named=(FROZEN_BATCH_NORM,))
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


@rule_for(
    modules=types("LayerNorm GroupNorm LocalResponseNorm RMSNorm Softmax Softmax2d LogSoftmax MultiheadAttention")
)
def _mixing(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{type(graph.traced.module(node)).__name__} mixes channels")


@rule_for(
    functions=(
        *functions(F, "layer_norm group_norm softmax log_softmax normalize scaled_dot_product_attention"),
        *functions(torch, "softmax log_softmax"),
    ),
    methods="softmax log_softmax",
)
def _mixing_function(node: fx.Node, graph: ChannelGraph) -> None:
    graph.fix(node, f"{label(node)} mixes channels")
