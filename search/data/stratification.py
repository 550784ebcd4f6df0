"""An order of examples, any beginning of which is a fair sample."""

import torch
from torch import Tensor


def stratified_order(labels: Tensor, *, seed: int) -> Tensor:
    """A random order (N,) of the examples, any beginning of which holds each class in its share.

    Args:
        labels: (N,) class of each example.
        seed: What the order depends on.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    classes = labels[shuffled]
    # The i-th of a class's n examples belongs at (i + 1/2) / n of the way.
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in classes.unique():
        members = classes == label
        count = int(members.sum())
        place[members] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return shuffled[place.argsort(stable=True)]
