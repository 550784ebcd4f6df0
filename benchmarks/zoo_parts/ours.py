"""branchfold on one network: what it takes, what it removes, and whether the result is right in every way."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import nn

from branchfold.benchmarks.zoo_parts.building import ENLARGED, Subject, as_dtype, run, tensors
from branchfold.benchmarks.zoo_parts.counting import count_macs, measured
from branchfold.benchmarks.zoo_parts.untouched import differences, fingerprint
from branchfold.errors import BranchfoldError
from branchfold.models import add_branches, channel_groups, fold

KEEP = 0.5
BATCH = 2
# Relative to the largest output, in float64; statistics of a batch of two magnify what is rounded.
EXACT, EXACT_IN_TRAINING = 1e-9, 1e-6

Tell = Callable[..., None]


class Group(Protocol):
    """What is read of a channel group."""

    @property
    def name(self) -> str:
        """Its first writer's path."""

    @property
    def writers(self) -> tuple[str, ...]:
        """Paths of the layers that write it."""

    @property
    def readers(self) -> tuple[str, ...]:
        """Paths of the layers that read it."""

    @property
    def reason(self) -> str:
        """Why it is fixed; empty if it can be narrowed."""


def measure(subject: Subject, tell: Tell, limit: float, *, checked: bool = True) -> None:
    """Tells, as soon as it is known, everything about one network; whether the result is right, if it is `checked`."""
    network, inputs = subject.network, subject.inputs(BATCH, 0)
    whole, by_path = count_macs(network, inputs)
    tell(macs=whole / BATCH, parameters=_parameters(network), stage="add_branches, fold")
    before = fingerprint(network)
    try:
        with measured(limit) as work:
            branched = add_branches(network, inputs, keep=KEEP, init="selection")
            small = fold(branched)
    except BranchfoldError as error:
        tell(refused=str(error), touched=differences(before, fingerprint(network)), stage="")
        return
    tell(seconds=work.seconds, elapsed=work.elapsed, megabytes=work.megabytes, stage="channel_groups")
    with measured(limit) as work:
        groups = channel_groups(network, inputs)
    tell(groups_seconds=work.seconds, touched=differences(before, fingerprint(network)), stage="forward of the fold")
    removed = 1 - count_macs(small, inputs)[0] / whole
    tell(removed=removed, parameters_after=_parameters(small), narrowed=len(branched.alpha), groups=len(groups))
    del branched, small
    first = first_layers(network, inputs)
    tell(fixed=fixed_groups(groups, by_path, whole, network, first), stage="checks")
    if checked:
        check(network.double(), subject, tell)
    tell(stage="")


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def fixed_groups(
    groups: Iterable[Group], by_path: dict[str, int], whole: int, network: nn.Module, first: set[nn.Module]
) -> list[dict[str, Any]]:
    """The reasons of fixed groups, those that hold most first.

    A layer's MACs are held half by the groups that it writes and half by those that it reads. Sides of layers that no
    group has are told by the kind of layer, and what is computed outside of layers, too.

    Args:
        groups: all groups.
        by_path: a module's path → its MACs.
        whole: the network's MACs.
        network: where the paths lead.
        first: layers that read the network's input.
    """
    groups = list(groups)
    names = {path: module for path, module in network.named_modules(remove_duplicate=False) if path}
    shares: Counter[nn.Module] = Counter()
    for path, module in names.items():
        if not _has_parts(module):
            shares[module] += by_path.get(path, 0) / whole  # type: ignore[assignment]
    rows: dict[str, dict[str, Any]] = {}

    def add(reason: str, number: int, share: float, example: str) -> None:
        row = rows.setdefault(reason, {"reason": reason, "groups": 0, "macs": 0.0, "example": example})
        row["groups"] += number
        row["macs"] += share

    for side in ("writers", "readers"):
        count = Counter(names[path] for group in groups for path in getattr(group, side))
        for group in groups:
            if group.reason:
                held = sum(shares[names[path]] / 2 / count[names[path]] for path in getattr(group, side))
                number = int(side == "writers")
                add(generalised(group.reason, names), number, held, f"{group.name}: {group.reason}")
        for path, module in network.named_modules():
            if shares[module] and module not in count:
                reads_input = side == "readers" and module in first
                kind = "it is the network's input" if reads_input else f"{_kind(module)} in no group"
                add(kind, 0, shares[module] / 2, f"{path}: {kind}")
    add("outside of layers", 0, 1 - sum(shares.values()), "computed outside of layers, such as attention's products")
    return sorted(rows.values(), key=lambda row: -row["macs"])


def _has_parts(module: nn.Module) -> bool:
    """Whether a module has modules inside, other than those that make its weights."""
    return any(name != "parametrizations" for name, _ in module.named_children())


def _kind(module: nn.Module) -> str:
    grouped = getattr(module, "groups", 1)
    return type(module).__name__ + (" in groups" if isinstance(grouped, int) and grouped > 1 else "")


def first_layers(network: nn.Module, inputs: Any) -> set[nn.Module]:
    """The layers that are called with an input of the network."""
    given, found = {id(x) for x in tensors(inputs)}, set()

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if any(id(x) in given for x in args):
            found.add(module)

    handles = [module.register_forward_pre_hook(look) for module in network.modules()]
    with torch.no_grad():
        run(network, inputs, copy=False)
    for handle in handles:
        handle.remove()
    return found


def generalised(reason: str, paths: Iterable[str]) -> str:
    """A reason without the names and numbers of its network, so that reasons of several can be added up."""
    for path in sorted(paths, key=len, reverse=True):
        if path in reason:
            reason = re.sub(rf"(?<![\w.]){re.escape(path)}(?![\w.])", "LAYER", reason)
    reason = re.sub(r"\b(\w+?)_\d+\b", r"\1", reason)
    return re.sub(r"\d+", "N", reason)


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
    tell(untrained=_untrained(small, network, x))


def identity(network: nn.Module) -> tuple[type, list[str]]:
    """Class and module names."""
    return type(network), [name for name, _ in network.named_modules(remove_duplicate=False)]


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


def _untrained(small: nn.Module, network: nn.Module, x: Any) -> list[str]:
    """Parameters whose gradients in training are missing or not finite, though the original's are there."""
    heard = [_heard(module, x) for module in (small, network)]
    return sorted(heard[1] - heard[0])


def _heard(network: nn.Module, x: Any) -> set[str]:
    network.train().zero_grad()
    outputs = [y for y in tensors(run(network, x)) if y.requires_grad]
    torch.stack([y.square().mean() for y in outputs]).sum().backward()
    return {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.isfinite().all())}
