"""What many tests compare by; on the path of pytest alone (`pythonpath` in pyproject.toml)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from branchfold.models.cost import Cost


@contextmanager
def counting_flops() -> Iterator[FlopCounterMode]:
    """Torch's counter, which counts attention on the CPU as well, and in torch's own transformers."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        mapping = {kernel: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal values in float64, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    """Relative to the largest value: 1e-9."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max()))


def counted(network: nn.Module, inputs: Tensor) -> Cost:
    """MACs of one example by torch's own counter, and parameters."""
    with torch.no_grad(), counting_flops() as counter:
        network.eval()(inputs)
    flops = counter.get_total_flops()
    assert flops % (2 * len(inputs)) == 0
    return Cost(flops // (2 * len(inputs)), sum(parameter.numel() for parameter in network.parameters()))
