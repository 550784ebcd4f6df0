"""BatchNorm statistics for a network as it is now."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from .modes import preserving_modes
from .narrowing import BATCH_NORMS


def recompute_batch_norm(network: nn.Module, batches: Iterable[Tensor | list[Any] | tuple[Any, ...]]) -> None:
    """Replaces the running statistics of every BatchNorm by those over `batches`, in place; modes stay as they are.

    Args:
        network: any network.
        batches: inputs (N, C, H, W), or tuples that start with them.
    """
    if not any(isinstance(module, BATCH_NORMS) for module in network.modules()):
        return
    momenta = {module: module.momentum for module in network.modules() if isinstance(module, BATCH_NORMS)}
    try:
        with preserving_modes(network):
            update_bn(batches, network)
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum
