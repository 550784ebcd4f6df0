"""What stands in the way: the reasons of fixed groups, and the layers that no group has, by the MACs that they hold."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from branchfold.benchmarks.zoo_parts.building import run, tensors


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
        count = Counter(names[path] for group in groups for path in getattr(group, side) if path in names)
        for group in groups:
            if group.reason:
                # What is written out as functions stands under the names of its weights, where no module is.
                layers = [names[path] for path in getattr(group, side) if path in names]
                held = sum(shares[layer] / 2 / count[layer] for layer in layers)
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
    reason = re.sub(r" at \S+:\d+", "", reason.partition("; ")[0])
    for path in sorted(paths, key=len, reverse=True):
        if path in reason:
            reason = re.sub(rf"(?<![\w.]){re.escape(path)}(?![\w.])", "LAYER", reason)
    reason = re.sub(r"\b(\w+?)_\d+\b", r"\1", reason)
    return re.sub(r"\d+", "N", reason)
