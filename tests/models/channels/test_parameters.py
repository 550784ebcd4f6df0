"""Parameters outside of layers that hold one value a channel."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


class Block(nn.Module):
    """A residual block with a layer scale, as in ConvNeXt, but a BatchNorm for its LayerNorm."""

    def __init__(self, shape, scale):
        super().__init__()
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.fc1, self.fc2 = nn.Linear(6, 9), nn.Linear(9, 6)
        self.gamma = nn.Parameter(torch.randn(shape))
        self.scale = scale

    def forward(self, x):
        y = self.norm(self.depthwise(x)).permute(0, 2, 3, 1)
        y = self.fc2(F.gelu(self.fc1(y)))
        return x + self.scale(self.gamma, y)


def before(gamma, y):
    return y.permute(0, 3, 1, 2) * gamma


def behind(gamma, y):
    return (gamma * y).permute(0, 3, 1, 2)


SCALES = {
    "(C, 1, 1)": ((6, 1, 1), before),
    "(1, C, 1, 1)": ((1, 6, 1, 1), before),
    "(C,) behind": ((6,), behind),
    "(1, 1, C)": ((1, 1, 6), behind),
    "viewed": ((6,), lambda g, y: before(g.view(1, -1, 1, 1), y)),
    "reshaped": ((6,), lambda g, y: before(torch.reshape(g, (-1, 1, 1)), y)),
    "indexed": ((6,), lambda g, y: before(g[None, :, None, None], y)),
    "indexed at the end": ((6,), lambda g, y: before(g[..., None, None], y)),
    "activated": ((6, 1, 1), lambda g, y: before(torch.sigmoid(g), y)),
    "divided and shifted": ((6, 1, 1), lambda g, y: y.permute(0, 3, 1, 2) / (2 + g.abs()) - g),
    "in place": ((6, 1, 1), lambda g, y: y.permute(0, 3, 1, 2).mul_(g)),
}


@pytest.mark.parametrize("kind", SCALES)
def test_a_layer_scale_is_narrowed_with_its_group(assert_folds, kind):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), Block(*SCALES[kind]), nn.ReLU(), nn.Conv2d(6, 2, 1))
    for keep in (0.01, 0.5):
        assert assert_folds(network, normal(2, 3, 7, 9), keep=keep) == {"0", "1.fc1"}


def test_its_chosen_values_stay_with_their_channels(randomise):
    shape, scale = SCALES["(C, 1, 1)"]
    network = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), Block(shape, scale), nn.Conv2d(6, 2, 1)))
    network[1].gamma.requires_grad_(False)
    x = normal(3, 3, 7, 9)
    branched = add_branches(network, x, keep={"0": 4})
    chosen = branched.compress["0"].weight.argmax(1)
    small = fold(branched)
    assert torch.equal(small[1].gamma, network[1].gamma[chosen])
    assert not small[1].gamma.requires_grad
    assert small[1].gamma.shape == (4, 1, 1)
    assert small[1].gamma is not branched.values["1/gamma"]


def test_a_scale_of_several_groups_makes_them_one(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(F.relu(net.left(x) * net.scale)) + net.last2(F.relu(net.right(x) + net.scale)),
        left=nn.Conv2d(3, 6, 3),
        right=nn.Conv2d(3, 6, 3),
        last=nn.Conv2d(6, 2, 1),
        last2=nn.Conv2d(6, 2, 1),
    )
    network.scale = nn.Parameter(torch.randn(6, 1, 1))
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"left"}


def tied(network):
    network.offset = nn.Parameter(torch.randn(6, 1, 1))
    network.spare = network.offset


def fleeting(network):
    # No checkpoint holds it: whoever builds the network anew would not know which of its values stayed.
    network.register_buffer("offset", torch.randn(6, 1, 1), persistent=False)


def of_a_layer(network):
    network.offset = nn.Conv2d(6, 1, 1)


def constant(network):
    network.offset = torch.ones(6, 1, 1)


FIXED = {
    "tied": (tied, lambda x, offset: x + offset, "add combines it with offset, which no layer writes"),
    "fleeting": (fleeting, lambda x, offset: x + offset, "add combines it with offset, which no layer writes"),
    "constant": (constant, lambda x, offset: x + offset, "add combines it with offset, which no layer writes"),
    "of a layer": (of_a_layer, lambda x, o: x * o.weight, "mul combines it with offset.weight, which no layer writes"),
    "width": (None, lambda x, offset: x + offset.view(1, 6, 1, 1), "view hard-codes its shape"),
    "sliced": (None, lambda x, o: x + torch.cat([o[3:], o[:3]]), "getitem hard-codes"),
    "counted": (None, lambda x, o: x + o / o.shape[0], "uses offset.shape[0], its number of channels"),
    "along the width": (None, lambda x, o: (x + o) + o.view(1, 1, 1, -1)[..., :1], "getitem hard-codes"),
}


@pytest.mark.parametrize("kind", FIXED)
def test_values_that_something_else_depends_on_are_fixed_with_the_reason(functional, kind):
    add, combine, reason = FIXED[kind]
    network = functional(
        lambda net, x: net.second(combine(net.first(x), net.offset)),
        first=nn.Conv2d(3, 6, 3),
        second=nn.Conv2d(6, 2, 1),
    )
    (add or (lambda net: setattr(net, "offset", nn.Parameter(torch.randn(6, 1, 1)))))(network)
    first = next(g for g in channel_groups(network, torch.randn(2, 3, 7, 9)) if g.name == "first")
    assert first.reason == reason or any(part in first.reason for part in reason.split("|")), first.reason
    assert not first.prunable
