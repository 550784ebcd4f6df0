"""Values of tensors that Python may see while a network is traced: those that no input has a part in."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

# Methods that hand a tensor's values to Python.
VALUE_READS = frozenset(
    """
    item tolist numpy __array__ __bool__ __int__ __float__ __index__ __complex__ __contains__ __iter__ equal
    allclose is_nonzero is_same_size data_ptr
    """.split()  # noqa: SIM905
)
# What is the same whatever the sizes are.
CONSTANT_READS = frozenset(
    """
    dim ndimension is_floating_point is_complex is_signed is_contiguous is_conj is_neg is_inference is_shared
    is_pinned is_set_to get_device element_size type storage_offset result_type has_names __hash__ __repr__
    __format__ __dir__ __deepcopy__ __reduce_ex__ backward register_hook retain_grad
    """.split()  # noqa: SIM905
)
_RANDOM = ("rand", "bernoulli", "normal", "uniform", "dropout", "multinomial", "poisson", "exponential", "empty")


class UntraceableError(Exception):
    """Why a network cannot be traced, in words that follow "cannot be traced at …: the code"."""


def constant_value(node: fx.Node, network: nn.Module, constants: Mapping[str, Tensor]) -> Any:
    """What a node yields, whatever the input is.

    Raises:
        UntraceableError: if it depends on an input, a parameter, a random number, or a buffer that the forward changes.
    """
    target = str(getattr(node.target, "__name__", node.target))
    if node.op in ("placeholder", "call_module") or any(word in target for word in _RANDOM):
        raise UntraceableError(
            "decides by a tensor's values, which are not known while it is traced; decide by its shape, or choose with "
            "torch.where"
        )
    if node.op == "get_attr":
        return _state_value(node, network, constants)
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: constant_value(n, network, constants))
    with torch.no_grad():
        return _call(node, args, kwargs)


def _call(node: fx.Node, args: Any, kwargs: Any) -> Any:
    if callable(node.target):
        return node.target(*args, **kwargs)
    return getattr(args[0], node.target)(*args[1:], **kwargs)


def _state_value(node: fx.Node, network: nn.Module, constants: Mapping[str, Tensor]) -> Tensor:
    path = str(node.target)
    if path in constants:
        return constants[path]
    owner, _, name = path.rpartition(".")
    value = getattr(network.get_submodule(owner), name)
    readers = (n for n in node.graph.nodes if n.op == "get_attr" and n.target == path)
    changed = any(user.op == "call_method" and str(user.target).endswith("_") for n in readers for user in n.users)
    if isinstance(value, nn.Parameter) or changed:
        raise UntraceableError(
            f"decides by the values of {path}, which training changes; keep such a number as an attribute"
        )
    return value
