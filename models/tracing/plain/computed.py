"""Tensors that code computes from a network's own ones alone, such as a weight that a convolution standardises."""

import re
from typing import Any

import torch
from torch import Tensor, fx, nn

_RANDOM = re.compile(r"rand|bernoulli|^normal_?$|uniform|dropout|multinomial|poisson|exponential|empty")


def is_random(name: str) -> bool:
    """Whether a function or method of torch's of this name draws numbers."""
    return _RANDOM.search(name) is not None


def computed_from(value: Any) -> list[fx.Node] | None:
    """The nodes that compute a tensor from parameters and buffers, in order, itself the last.

    None where anything else has a part in it: inputs, layers, random numbers, or tensors that are changed meanwhile.
    """
    found: dict[fx.Node, None] = {}
    ahead = [value] if isinstance(value, fx.Node) else []
    while ahead:
        node = ahead.pop()
        if not _is_pure(node):
            return None
        if node not in found:
            found[node] = None
            ahead += node.all_input_nodes
    return [node for node in next(iter(found)).graph.nodes if node in found] if found else None


def _is_pure(node: fx.Node) -> bool:
    """Whether a node reads a tensor of the network's, or is a function of its arguments that changes none of them."""
    if node.op == "get_attr":
        return True
    name = str(getattr(node.target, "__name__", node.target))
    in_place = (node.op == "call_method" and name.endswith("_")) or node.kwargs.get("inplace") is True
    return node.op in ("call_function", "call_method") and not in_place and not is_random(name)


def value_of(nodes: list[fx.Node], network: nn.Module) -> tuple[Tensor, bool]:
    """What the nodes compute of the network's tensors as they are, and whether any of those is trained."""
    values: dict[fx.Node, Any] = {}
    trained = False
    with torch.no_grad():
        for node in nodes:
            if node.op == "get_attr":
                owner, _, name = str(node.target).rpartition(".")
                values[node] = getattr(network.get_submodule(owner), name)
                trained |= values[node].requires_grad
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            function: Any = getattr(torch.Tensor, node.target) if isinstance(node.target, str) else node.target
            values[node] = function(*args, **kwargs)
    result = values[nodes[-1]]
    return result.detach().clone(), trained
