"""Branches in a training loop of one's own, in two stages: the first layers are folded while the others still train.

Run it with `python examples/own_loop.py`; it needs neither Optuna nor Lightning.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from branchfold.models import add_branches, carry_optimizer_state, channel_groups, fold
from branchfold.models.networks.resnet import resnet20

STEPS = 30  # of each stage


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Noisy images with a bright upper (class 0) or lower half (class 1)."""
    labels = torch.randint(2, (size,))
    images = torch.randn(size, 3, 32, 32)
    images[labels == 0, :, :16] += 0.5
    images[labels == 1, :, 16:] += 0.5
    return images, labels


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One step of training; returns its loss."""
    images, labels = batch(32)
    loss = cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def accuracy(network: nn.Module) -> float:
    """The share of new images that are right."""
    images, labels = batch(500)
    with torch.no_grad():
        return (network.eval()(images).argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    network: nn.Module = resnet20(width=0.5, num_classes=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        step(network, optimizer)
    print(f"trained: {accuracy(network):.3f}")

    examples = batch(128)[0]
    branched: Any = add_branches(network.train(), examples, keep=0.5, data=examples)
    groups = [group.name for group in channel_groups(network, examples[:2]) if group.prunable]
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.01, momentum=0.9)
    for stage in (groups[: len(groups) // 2], groups[len(groups) // 2 :]):
        for number in range(STEPS):
            branched.set_alpha(dict.fromkeys(stage, 1 - number / STEPS))
            step(branched, optimizer)
        branched.set_alpha(dict.fromkeys(stage, 0.0))
        before, branched = branched, fold(branched, groups=stage)
        carry_optimizer_state(optimizer, before, branched)  # what folding did not touch keeps its momentum
    count = [sum(p.numel() for p in each.parameters()) for each in (branched, network)]
    print(f"folded: {accuracy(branched):.3f} with {count[0]} of {count[1]} parameters")
