"""Whether a folded network is right: compared in float64 with the branched one, in both modes and for other sizes."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from branchfold.benchmarks.zoo_parts.building import BATCH, ENLARGED, KEEP, Subject, Tell, as_dtype, run, tensors
from branchfold.benchmarks.zoo_parts.judging import EXACT_IN_TRAINING
from branchfold.errors import BranchfoldError
from branchfold.models import add_branches, channel_groups, fold


def check(network: nn.Module, subject: Subject, tell: Tell) -> None:
    """Compares in float64: original, branched network at α = 1 and 0, and fold, in both modes and for other sizes."""

    def inputs(batch: int, enlarged: int = 0) -> Any:
        return as_dtype(subject.inputs(batch, enlarged), torch.float64)

    x = inputs(BATCH)
    with torch.no_grad():
        original = run(network, x)
        branched = add_branches(network, x, keep=KEEP, init="selection")
        tell(error_whole=difference(run(branched, x), original))
        branched.set_alpha(0)
        small = fold(branched)
        tell(error_fold=difference(run(small, x), run(branched, x)))
        tell(renamed=identity(small) != identity(network))
        _disturb(branched)
        small = fold(branched)
        tell(error_dense=difference(run(small, x), run(branched, x)))
        for name, other in {"batch of 1": inputs(1), "batch of 5": inputs(5), "larger": inputs(2, ENLARGED)}.items():
            tell(**{f"error_{name}": _elsewhere(network, branched, small, other)})
        tell(**_in_training(small, branched, x))
        del branched
    computed = {told.rpartition(" (")[0] for group in channel_groups(network, x) for told in group.computed}
    tell(untrained=_untrained(small, network, x, computed))


def identity(network: nn.Module) -> tuple[type, list[str]]:
    """Class and module names, but for those of parametrizations: what is folded holds its weight itself."""
    names = [name for name, _ in network.named_modules(remove_duplicate=False)]
    return type(network), [name for name in names if "parametrizations" not in name.split(".")]


def difference(actual: Any, expected: Any) -> float:
    """The largest difference of two answers, relative to the largest number in its tensor; infinite if not alike."""
    mine, theirs = tensors(actual), tensors(expected)
    if [x.shape for x in mine] != [x.shape for x in theirs] or type(actual) is not type(expected):
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(mine, theirs, strict=True) if b.numel()]
    errors = [float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) for a, b in pairs]
    return max((float("inf") if e != e else e for e in errors), default=0.0)


def _disturb(branched: nn.Module) -> None:
    """Dense P and E, and other narrow layers: what training makes of a selection."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in branched.named_parameters():
        if not name.startswith("network."):
            scale = 0.1 * (parameter[0].numel() if parameter.dim() > 1 else 1) ** -0.5
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=scale)


def _elsewhere(network: nn.Module, branched: nn.Module, small: nn.Module, x: Any) -> float | None:
    """The fold's error for inputs of another size; None where the original takes none, or the branches refuse it."""
    try:
        run(network, x)
    except Exception:
        return None
    answer = run(small, x)
    try:
        return difference(answer, run(branched, x))
    except BranchfoldError:
        return None


def _in_training(small: nn.Module, branched: nn.Module, x: Any) -> dict[str, float]:
    """The fold's errors in training, and in evaluation with the statistics that training left.

    Nothing where the network draws random numbers in training.
    """
    small.train(), branched.train()
    error = difference(run(small, x), run(branched, x))
    if difference(run(small, x, seed=1), run(small, x)) > EXACT_IN_TRAINING:
        return {}
    for seed in (1, 0):
        run(branched, x, seed)
    return {
        "error_training": error,
        "error_after_training": difference(run(small.eval(), x), run(branched.eval(), x)),
    }


def _untrained(small: nn.Module, network: nn.Module, x: Any, computed: Collection[str]) -> list[str]:
    """Parameters whose gradients in training are missing or not finite, though the original's are there.

    Args:
        small: the folded network.
        network: the original.
        x: inputs.
        computed: paths of layers that hold a weight after folding which they computed before, of other parameters.
    """
    heard = [_heard(module, x) for module in (small, network)]
    lost = heard[1] - heard[0]
    return sorted(name for name in lost if not any(name.startswith(f"{path}.") for path in computed))


def _heard(network: nn.Module, x: Any) -> set[str]:
    network.train().zero_grad()
    outputs = [y for y in tensors(run(network, x)) if y.requires_grad]
    torch.stack([y.square().mean() for y in outputs]).sum().backward()
    return {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.isfinite().all())}
