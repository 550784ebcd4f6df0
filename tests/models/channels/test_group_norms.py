"""Normalisation over groups of channels: the branch has the same number of groups, each of fewer channels."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


class Functional(nn.Module):
    """The norm as a function, on its own parameters or on none."""

    def __init__(self, groups, affine):
        super().__init__()
        self.groups = groups
        self.scale = nn.Parameter(torch.randn(12)) if affine else None

    def forward(self, x):
        return F.group_norm(x, self.groups(x), self.scale)


NORMS = {
    "groups": (lambda: nn.GroupNorm(3, 12), 3),
    "one group": (lambda: nn.GroupNorm(1, 12), 1),
    "each alone": (lambda: nn.GroupNorm(12, 12), 1),
    "each alone, without values": (lambda: nn.GroupNorm(12, 12, affine=False), 1),
    "without values": (lambda: nn.GroupNorm(4, 12, affine=False), 4),
    "as a function": (lambda: Functional(lambda x: 3, True), 3),
    "as a function without values": (lambda: Functional(lambda x: 3, False), 3),
    "as many as there are": (lambda: Functional(lambda x: x.shape[1], True), 1),
}


def between(norm):
    return nn.Sequential(nn.Conv2d(3, 12, 3), norm, nn.SiLU(), nn.Conv2d(12, 5, 3, padding=1), nn.Conv2d(5, 2, 1))


@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_over_groups_is_narrowed_with_them(assert_folds, kind):
    build, blocks = NORMS[kind]
    network = between(build())
    assert channel_groups(network, torch.randn(2, 3, 6, 7))[0].blocks == blocks
    for keep in (0.01, 0.5):
        assert assert_folds(network, normal(2, 3, 6, 7), keep=keep) == {"0", "3"}


def test_the_branch_normalises_over_its_own_channels_in_groups(randomise):
    network, x = randomise(between(nn.GroupNorm(3, 12))), normal(2, 3, 6, 7)
    branched = add_branches(network, x, keep={"0": 6}, init="selection")
    chosen = branched.compress["0"].weight.argmax(1)
    hidden = network[0](x)[:, chosen].unflatten(1, (3, 2))
    centred = hidden - hidden.mean((2, 3, 4), keepdim=True)
    y = (centred / (centred.square().mean((2, 3, 4), keepdim=True) + network[1].eps).sqrt()).flatten(1, 2)
    y = y * network[1].weight[chosen].view(-1, 1, 1) + network[1].bias[chosen].view(-1, 1, 1)
    y = F.conv2d(F.silu(y), network[3].weight[:, chosen], network[3].bias, padding=1)
    small = fold(branched)
    assert_equal(small(x), network[4](y))
    assert (small[1].num_groups, small[1].num_channels) == (3, 6)


def test_norms_of_several_numbers_of_groups_over_one_stream(assert_folds, functional):
    network = functional(
        lambda net, x: net.last(net.c((h := net.stem(x)) + net.conv(F.relu(net.a(h)))) + net.b(h)),
        stem=nn.Conv2d(3, 24, 1),
        a=nn.GroupNorm(2, 24),
        b=nn.GroupNorm(3, 24),
        c=nn.GroupNorm(24, 24),
        conv=nn.Conv2d(24, 24, 3, padding=1, groups=4),
        last=nn.Conv2d(24, 2, 1),
    )
    assert channel_groups(network, torch.randn(2, 3, 6, 7))[0].blocks == 12
    assert assert_folds(network, normal(2, 3, 6, 7), keep=0.5) == {"stem"}


@pytest.mark.parametrize(("groups", "reason"), [(3, ""), (1, "norm mixes the channels of several groups")])
def test_a_norm_over_several_layers_channels_makes_its_groups_alike(functional, assert_folds, groups, reason):
    network = functional(
        lambda net, x: net.last(net.norm(torch.cat([net.a(x), net.b(x)], 1))),
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(3, 8, 1),
        norm=nn.GroupNorm(groups, 12),
        last=nn.Conv2d(12, 2, 1),
    )
    first = channel_groups(network, torch.randn(2, 3, 6, 7))[0]
    assert first.reason == reason
    if not reason:
        assert (first.width, first.writers) == (4, ("a", "b"))
        assert assert_folds(network, normal(2, 3, 6, 7)) == {"a"}


def test_a_norm_whose_number_of_groups_follows_from_its_channels_is_fixed(functional):
    network = functional(
        lambda net, x: net.last(F.group_norm(h := net.first(x), h.shape[1] // 2)),
        first=nn.Conv2d(3, 12, 1),
        last=nn.Conv2d(12, 2, 1),
    )
    assert "follows from its channels" in channel_groups(network, torch.randn(2, 3, 6, 7))[0].reason
