"""How good and how costly a network is: accuracy over batches, latency of a forward pass."""

import logging
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from ...models.layers.modes import evaluating


def accuracy_of(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the examples whose highest logit is their label's.

    Args:
        network: from images (N, C, H, W) to logits (N, classes).
        batches: images with labels (N,).
    """
    device = next(network.parameters()).device
    correct = total = 0
    with evaluating(network):
        for images, labels in batches:
            predicted = network(images.to(device)).argmax(1)
            correct += int((predicted == labels.to(device)).sum())
            total += len(labels)
    return correct / total


def loss_of(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean cross-entropy over the examples, in nats; arguments as for `accuracy_of`."""
    device = next(network.parameters()).device
    total, count = 0.0, 0
    with evaluating(network):
        for images, labels in batches:
            total += float(F.cross_entropy(network(images.to(device)), labels.to(device), reduction="sum"))
            count += len(labels)
    return total / count


def latency_of(network: nn.Module, images: Tensor, seconds: float = 1.0) -> float:
    """Median seconds of a forward pass on one thread, measured for at least `seconds`."""
    # Importing the timer looks for a CUDA compiler, and warns where there is one but no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    with evaluating(network):
        timer = Timer("network(images)", globals={"network": network, "images": images}, num_threads=1)
        return float(timer.blocked_autorange(min_run_time=seconds).median)
