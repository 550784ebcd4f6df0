"""Normalisation over groups of channels: the branch has the same number of groups, each of fewer channels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ...tracing.graph import shape_of
from ..graph import ChannelGraph
from ..layouts import Layout
from ..nodes import label
from ..numbers.forms import Form
from .claims import claimed
from .registry import known_layout, not_known, rule_for, source_of


@rule_for(modules=(nn.GroupNorm,))
def _group_norm(node: fx.Node, graph: ChannelGraph) -> None:
    """Groups of one channel each are channels that are treated alone, however many there are."""
    layout, module = known_layout(source_of(node), graph), graph.traced.module(node)
    assert isinstance(module, nn.GroupNorm)
    if layout is None:
        return not_known(node, graph)
    if layout.dim == 1 and module.num_groups == module.num_channels > 1:
        return graph.carry(node, layout)
    return _carry_groups(node, layout, module.num_groups, graph)


@rule_for(functions=(F.group_norm, torch.group_norm))
def _group_norm_function(node: fx.Node, graph: ChannelGraph) -> None:
    """The same, written out: weight and bias are narrowed along."""
    shape, layout = shape_of(node), known_layout(source_of(node), graph)
    groups: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("num_groups")
    form = graph.form(groups)
    if shape is None or layout is None or form is None:
        return not_known(node, graph)
    alone = graph.depends(groups)
    if alone and not (layout.dim == 1 and graph.demand(node, groups, Form.of_layout(layout))):
        return graph.fix(node, f"{label(node)} has a number of groups that follows from its channels")
    for value in graph.tensors(node)[1:]:
        held = claimed(value, 0, graph)
        if layout.dim != 1 or held is None or not held.at(1).unite(layout):
            return graph.fix(node, f"{label(node)} combines it with {label(value)}, which no layer writes")
    return graph.carry(node, layout) if alone else _carry_groups(node, layout, form.value(), graph)


def _carry_groups(node: fx.Node, layout: Layout, groups: int, graph: ChannelGraph) -> None:
    """Where another dimension than the channels' lies in groups, each is normalised over all channels."""
    graph.carry_mixed(node, layout)
    if groups > 1 and layout.dim == 1:
        graph.demand_blocks(node, groups)
