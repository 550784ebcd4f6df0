"""Calling a network with what a data set gives: a tensor, the forward's arguments in order, or by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...models.tracing.inputs import first_tensor, with_tensors


def called(network: nn.Module, inputs: Any) -> Any:
    """A network's outputs for a batch of inputs."""
    if isinstance(inputs, Tensor):
        return network(inputs)
    return network(**inputs) if isinstance(inputs, Mapping) else network(*inputs)


def moved(values: Any, device: torch.device) -> Any:
    """The same values with all tensors on a device."""
    return with_tensors(values, lambda tensor: tensor.to(device))


def count_of(inputs: Any) -> int:
    """How many examples a batch of inputs has."""
    first = first_tensor(inputs)
    assert first is not None, "a batch has a tensor among its inputs"
    return len(first)
