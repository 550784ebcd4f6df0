"""Copies of a network's tensors that take memory and time only when either side is written: torch's copies on write."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Not of torch's documented interface: where it is missing, tensors are copied at once.
_LEND: Callable[[Tensor], Tensor] | None = getattr(torch, "_lazy_clone", None)
_USES: Callable[[int], int] | None = getattr(torch._C, "_storage_Use_Count", None)
_LENDING = threading.Lock()


@torch.no_grad()
def lent(network: nn.Module) -> dict[Tensor | nn.Module, Tensor | nn.Module]:
    """A network's parameters and buffers → copies that share their memory until torch writes into one of both.

    Whoever writes first gets memory of its own, so that neither ever sees the other's changes. Torch sees to that where
    it alone knows the memory: a tensor is left out where anyone else does (a numpy array, a view, another process),
    where the memory is larger than the tensor, or is another device's.
    """
    if _LEND is None or _USES is None:
        return {}
    alone = _uses(torch.empty(1))
    held = (
        tensor for module in network.modules() for tensor in (*module._parameters.values(), *module._buffers.values())
    )
    copies: dict[Tensor | nn.Module, Tensor | nn.Module] = {}
    with _LENDING:
        for tensor in dict.fromkeys(held):
            if tensor is not None and _is_plain(tensor) and _uses(tensor) == alone:
                try:
                    copy = _LEND(tensor.detach())
                except RuntimeError:  # memory that others manage
                    continue
                trains = tensor.requires_grad
                copies[tensor] = nn.Parameter(copy, trains) if type(tensor) is nn.Parameter else copy
    return copies


def _is_plain(tensor: Tensor) -> bool:
    """Whether `copy.deepcopy` would copy the values, and nothing else."""
    known = type(tensor) is nn.Parameter or (
        type(tensor) is Tensor and not (tensor.requires_grad or tensor.__dict__ or tensor.grad is not None)
    )
    if not known or tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_inference():
        return False
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() and tensor.numel() > 0


def _uses(tensor: Tensor) -> int:
    """How many know a tensor's memory, the one that asks among them."""
    assert _USES is not None
    storage: Any = tensor.untyped_storage()
    return _USES(storage._cdata)
