"""How good a network is: which examples of some batches it has right, its accuracy, its loss."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.examples import placed
from ...models.layers.modes import evaluating


def right_of(network: nn.Module, batches: Iterable[tuple[Any, Tensor]]) -> Tensor:
    """Whether each example's highest logit is its label's: (N,) of bool, in the batches' order.

    Args:
        network: from inputs to logits (N, classes).
        batches: inputs, one tensor or the forward's arguments, with labels (N,).
    """
    device = next(network.parameters()).device
    with evaluating(network):
        right = [network(*placed(inputs, network)).argmax(1) == labels.to(device) for inputs, labels in batches]
    return torch.cat(right).cpu()


def accuracy_of(network: nn.Module, batches: Iterable[tuple[Any, Tensor]]) -> float:
    """Share of the examples that a network has right; arguments as for `right_of`."""
    right = right_of(network, batches)
    return int(right.sum()) / len(right)


def loss_of(network: nn.Module, batches: Iterable[tuple[Any, Tensor]]) -> float:
    """Mean cross-entropy over the examples, in nats; arguments as for `accuracy_of`."""
    device = next(network.parameters()).device
    total, count = 0.0, 0
    with evaluating(network):
        for inputs, labels in batches:
            total += float(F.cross_entropy(network(*placed(inputs, network)), labels.to(device), reduction="sum"))
            count += len(labels)
    return total / count
