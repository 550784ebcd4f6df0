"""Whatever a tool changes on a network or in the random generators is told."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from branchfold.benchmarks.zoo_parts.untouched import differences, fingerprint


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module[0].sizes = [1, (2, 3)]
    return module


def told(change):
    module = network()
    before = fingerprint(module)
    assert not differences(before, fingerprint(module))
    change(module)
    return differences(before, fingerprint(module))


@torch.no_grad()
def last_digit(module):
    module[0].weight[0, 0, 0, 0] = torch.nextafter(module[0].weight[0, 0, 0, 0], torch.tensor(9.0))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (last_digit, "0: _parameters.weight"),
        (lambda m: m[1].num_batches_tracked.add_(1), "1: _buffers.num_batches_tracked"),
        (lambda m: m[0].weight.requires_grad_(False), "0: _parameters.weight"),
        (lambda m: m[0].sizes.append(4), "0: sizes"),
        (lambda m: setattr(m[0], "traced", None), "0: traced"),
        (lambda m: m[0].register_forward_hook(print), "0: _forward_hooks"),
        (lambda m: m[1].eval(), "1: training"),
        (lambda m: m.append(nn.ReLU()), "the network: _modules"),
        (lambda _: torch.rand(1), "random state: torch"),
        (lambda _: random.random(), "random state: random"),
        (lambda _: np.random.rand(), "random state: numpy"),
    ],
)
def test_a_change_is_told_by_its_place(change, place):
    assert place in told(change)


def test_a_parameter_that_was_replaced_by_an_equal_one_is_told():
    def replace(module):
        module[0].weight = nn.Parameter(module[0].weight.detach().clone())

    assert told(replace) == ["0: _parameters"]
