"""A network put back as it was, at the end and for what runs next meanwhile."""

import random

import torch
from torch import nn

from branchfold.models.tracing.preserving import preserving_state


def changed(network):
    """Attributes, containers at any depth, hooks, a buffer and random numbers, as a forward may change them."""
    network.count += 1
    network.notes["seen"].append(1)
    network.empty["x"] = torch.zeros(1)
    network.eval()
    network.register_forward_hook(print)
    network.running_mean.add_(1)
    random.random(), torch.rand(1)


def made():
    network = nn.BatchNorm1d(3)
    network.count, network.notes, network.empty = 0, {"seen": []}, {}
    return network


def test_all_but_values_is_put_back_at_once_and_they_are_at_the_end():
    network, python, torchs = made(), random.getstate(), torch.get_rng_state()
    with preserving_state(network) as put_back:
        for _ in range(2):
            changed(network)
            put_back()
            assert (network.count, network.notes, network.empty) == (0, {"seen": []}, {})
            assert network.training
            assert not network._forward_hooks
            assert random.getstate() == python
            assert torch.equal(torch.get_rng_state(), torchs)
        changed(network)
        assert torch.equal(network.running_mean, torch.full((3,), 3.0))
    assert (network.count, network.notes, network.empty) == (0, {"seen": []}, {})
    assert torch.equal(network.running_mean, torch.zeros(3))
