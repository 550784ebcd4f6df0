"""Whether fitted branches answer nearly equal inputs nearly alike: else rounding is what they tell."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import NetworkError
from ..branches.network import BranchedNetwork, few_examples
from ..layers.modes import evaluating
from ..tracing.inputs import copied, tensors_of, with_tensors

# Times as much as the original may the branches change with their input: float32 keeps three digits of 1 then.
_MOST = 1e4
_TINY = torch.finfo(torch.float64).tiny


def require_steady(branched: BranchedNetwork, inputs: Sequence[Any]) -> None:
    """Changes an input a little, and looks how much more the branches' answer changes than the original's.

    Of data in which some channels hardly vary, BatchNorms behind them learn a variance near 0, and multiply whatever
    else arrives; over many layers even rounding.

    Args:
        branched: the network, with fitted branches.
        inputs: the forward's arguments for some examples.

    Raises:
        NetworkError: if that is more than 10,000 times as much, or the branches' answer is not finite.
    """
    few = few_examples(tuple(inputs))
    if not branched.plan.widths or not any(x.is_floating_point() for x in tensors_of(few)):
        return
    before = branched.alpha
    with evaluating(branched):
        branched.set_alpha(1)
        original = _change(branched, few)
        branched.set_alpha(0)
        fitted = _change(branched, few)
        branched.set_alpha(before)
    if math.isfinite(original) and not fitted <= _MOST * max(original, 1.0):
        raise NetworkError(
            f"the branches fitted to this data change {fitted:.0e} times as much as their input where the original "
            f"changes {original:.0e} times as much: rounding would decide what they tell; fit them to more examples, "
            f'or to such as differ more, or use init="selection"'
        )


def _change(network: BranchedNetwork, inputs: tuple[Any, ...]) -> float:
    """The relative change of the answer for one of the input, nan where either is not finite."""
    answer, other = (list(tensors_of(network(*copied(x)))) for x in (inputs, with_tensors(inputs, _nearly)))
    changes = [
        float((b - a).double().norm() / (a.double().norm() * _step(a)).clamp(min=_TINY))
        for a, b in zip(answer, other, strict=True)
        if a.is_floating_point() and a.numel()
    ]
    return math.nan if any(map(math.isnan, changes)) else max(changes, default=0.0)


def _nearly(x: Tensor) -> Tensor:
    """The tensor with noise as large as half of its digits allow."""
    if not x.is_floating_point():
        return x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    return x + noise * x.square().mean().sqrt() * _step(x)


def _step(x: Tensor) -> float:
    return float(torch.finfo(x.dtype).eps ** 0.5)
