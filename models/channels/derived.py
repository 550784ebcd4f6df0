"""Values that channels determine but that have none: a mean over channels, attention weights.

The branch computes its own value from its own channels, by the same operations. What works on that group's channels
alone stays in the branch; anything else that reads the value reads α · the original's + (1 − α) · the branch's, and so
folding leaves the code as it is: at α = 0 it works on the branch's value.
"""

import math
import operator

from torch import fx

from ..layers.narrowing import has_hooks
from ..tracing.graph import shape_of
from .graph import ChannelGraph
from .nodes import label


def follow_derived(node: fx.Node, graph: ChannelGraph) -> bool:
    """Follows a node that reads such values and no channels; False where the node's own rule is to say what it does."""
    sources = node.all_input_nodes
    if node.target in _NUMBERS and not yields_tensors(node):
        return _follow_number(node, graph)
    if node.op == "output" or not any(source in graph.derived for source in sources):
        return False
    first = node.args[0] if node.args else None
    if node.target is operator.setitem and first in graph.derived:
        graph.fix_derived(node, f"{label(node)} writes into what its channels determine")
    if any(graph.layouts_of(source) for source in sources) or not yields_tensors(node) or _is_layer(node, graph):
        return False
    if node.target in _NUMBERS or str(node.target) in _METHODS:
        graph.weigh(node)
    if not graph.is_in_place(node) or first in graph.derived:  # else it changes what both sides have
        graph.derive_on(node)
    return True


_LINEAR = {operator.add, operator.sub, operator.mul, operator.floordiv}
_NUMBERS = {*_LINEAR, operator.truediv, operator.pow, operator.mod, operator.neg, math.sqrt}
_METHODS = {"add", "sub", "mul", "div", "pow"}


def _follow_number(node: fx.Node, graph: ChannelGraph) -> bool:
    """Follows what a number of channels becomes where it is no linear form of it; False for linear forms."""
    sources = node.all_input_nodes
    depends = any(source in graph.numbers for source in sources) and node.target not in _LINEAR
    if not depends and not any(graph.is_derived_number(source) for source in sources):
        return False
    graph.derive_number(node)
    return True


def reads_value(node: fx.Node, graph: ChannelGraph) -> bool:
    """Whether a node makes something of the values of a tensor that it reads, not of its shape or dtype alone."""
    told = node.op == "output" or node.target is operator.setitem
    return told or yields_tensors(node) or graph.is_in_place(node)


def determining(graph: ChannelGraph) -> dict[fx.Node, list[fx.Node]]:
    """The tensors whose channels determine such values → the operations that make these of them."""
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.derived:
        for source in node.all_input_nodes:
            if source in graph.layouts:
                found.setdefault(source, []).append(node)
    return found


def yields_tensors(node: fx.Node) -> bool:
    """Whether a node yields a tensor, or several."""
    return shape_of(node) is not None or "shapes" in node.meta


def _is_layer(node: fx.Node, graph: ChannelGraph) -> bool:
    """Whether a node calls a layer with weights or statistics, which reads a value of both sides."""
    if node.op != "call_module":
        return False
    module = graph.traced.module(node)
    tensors = (*module.parameters(), *module.buffers())
    return bool(tensors) or has_hooks(module)
