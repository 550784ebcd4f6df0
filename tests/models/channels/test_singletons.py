"""Dimensions of size 1 that come and go, and indices that take all channels."""

import pytest
import torch
from torch import nn

from branchfold.models import channel_groups

X = torch.randn(3, 3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

GATES = {
    "index": lambda net, y: net.fc(y.mean((2, 3)))[:, :, None, None],
    "ellipsis": lambda net, y: net.fc(y.mean((2, 3)))[..., None, None],
    "unsqueeze": lambda net, y: net.fc(y.amax((2, 3))).unsqueeze(-1).unsqueeze(2),
    "squeeze": lambda net, y: net.fc(net.pool(y).squeeze(-1).squeeze(-1))[:, :, None, None],
    "squeeze both": lambda net, y: torch.unsqueeze(net.fc(torch.squeeze(net.pool(y), (2, 3))), 2)[..., None],
    "position": lambda net, y: net.fc(net.pool(y)[:, :, 0, 0]).unsqueeze(2).unsqueeze(3),
    "last position": lambda net, y: net.fc(y[..., -1, 1])[:, :, None, None],
    "detour": lambda net, y: net.fc(y.mean((2, 3))[:, None][:, 0])[:, :, None, None],
    "power": lambda net, y: net.fc((y**2).mean((2, 3)).sqrt())[:, :, None, None].pow(2),
}


def layers():
    return {
        "first": nn.Conv2d(3, 8, 3, padding=1),
        "fc": nn.Linear(8, 8),
        "last": nn.Conv2d(8, 2, 1),
        "pool": nn.AdaptiveAvgPool2d(1),
    }


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
def test_a_gate_is_narrowed_with_what_it_multiplies(functional, assert_folds, gate):
    net = functional(lambda net, x: net.last((y := net.first(x)) * torch.sigmoid(gate(net, y))), **layers())
    assert assert_folds(net, X) == {"first"}


@pytest.mark.parametrize(
    "cropped",
    [
        lambda y: y[:, :, 1:-1],
        lambda y: y[..., ::2, 1:],
        lambda y: y[:],
        lambda y: y[:, :, 2:5, None].squeeze(3),
        lambda y: y[:, :, y.shape[2] - 4 :],
    ],
)
def test_positions_may_be_left_out(functional, assert_folds, cropped):
    net = functional(lambda net, x: net.last(torch.tanh(cropped(net.first(x)))), **layers())
    assert assert_folds(net, X) == {"first"}


@pytest.mark.parametrize(
    "taken",
    [
        lambda y: y[:, :4].repeat(1, 2, 1, 1),
        lambda y: y[:, 0][:, None].expand(-1, 8, -1, -1),
        lambda y: y[[0, 1, 2]],
        lambda y: y[:2],
        lambda y: y[0][None],
        lambda y: y.squeeze(),
        lambda y: y.squeeze(1),
        lambda y: 2**y,
    ],
)
def test_what_takes_channels_or_examples_apart_fixes_them(functional, taken):
    net = functional(lambda net, x: net.last(taken(net.first(x))), **layers()).double()
    (group,) = (group for group in channel_groups(net, X) if group.name == "first")
    assert group.reason
