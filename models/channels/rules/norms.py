"""Normalisation over channels: each depends on all others, so the branch has a norm of its own at its width."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..nodes import label, place
from ..numbers.forms import Form
from .claims import claimed
from .registry import known_layout, not_known, rule_for, source_of, types


@rule_for(modules=types("LayerNorm RMSNorm"))
def _norm(node: fx.Node, graph: ChannelGraph) -> None:
    """Over the channels and positions behind them; over positions alone it treats each channel alike."""
    shape, layout = shape_of(node), known_layout(source_of(node), graph)
    module: Any = graph.traced.module(node)
    if shape is None or layout is None:
        return not_known(node, graph)
    first = len(shape) - len(module.normalized_shape)
    if layout.dim < first:
        return graph.carry(node, layout)
    if layout.dim > first:
        return graph.fix(node, f"{label(node)} normalises over channels and positions before them")
    return graph.carry_mixed(node, layout)


@rule_for(functions=(F.layer_norm, torch.layer_norm, F.rms_norm, torch.rms_norm))
def _norm_function(node: fx.Node, graph: ChannelGraph) -> None:
    """The same, written out: its shape must follow from the width, and its weight and bias are narrowed along."""
    shape, layout = shape_of(node), known_layout(source_of(node), graph)
    asked: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("normalized_shape")
    if isinstance(asked, fx.Node) and asked in graph.sizes:
        graph.explain(node, asked)
        asked = graph.sizes[asked]
    values = [value for value in graph.tensors(node) if value is not node.args[0]]
    if shape is None or layout is None or not isinstance(asked, list | tuple):
        return not_known(node, graph)
    first = len(shape) - len(asked)
    if layout.dim < first and not any(map(graph.depends, asked)):
        return graph.carry(node, layout)
    if layout.dim != first or any(map(graph.depends, asked[1:])):
        return graph.fix(node, f"{label(node)} normalises over channels and positions before them")
    if not graph.demand(node, asked[0], Form.of_layout(layout)):
        told = f"{label(node)} hard-codes its number of channels{place(node)}"
        return graph.fix(node, f"{told}; `x.shape[{first - len(shape)}:]` would not")
    for value in values:
        held = claimed(value, 0, graph)
        if held is None or not held.at(layout.dim).unite(layout):
            return graph.fix(node, f"{label(node)} combines it with {label(value)}, which no layer writes")
    return graph.carry_mixed(node, layout)
