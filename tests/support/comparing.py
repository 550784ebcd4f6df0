"""What many tests compare by; on the path of pytest alone (`pythonpath` in pyproject.toml)."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from branchfold.models.cost import Cost


def counting_flops() -> FlopCounterMode:
    """Torch's counter, which counts attention on the CPU as well."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)})


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
