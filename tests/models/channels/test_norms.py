"""Normalisation over channels: the branch has a norm of its own at its width."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


class Norm2d(nn.LayerNorm):
    """A norm over the channels of an image, as libraries write it."""

    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Written(nn.Module):
    """A norm that computes its shape from what it gets."""

    def __init__(self, width, shape):
        super().__init__()
        self.scale, self.width, self.shape = nn.Parameter(torch.randn(width)), width, shape

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        return F.rms_norm(x, self.shape(self, x), weight=self.scale).permute(0, 3, 1, 2)


class Permuted(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS = {
    "layer norm": lambda: Permuted(nn.LayerNorm(6)),
    "without values": lambda: Permuted(nn.LayerNorm(6, elementwise_affine=False)),
    "without a bias": lambda: Permuted(nn.LayerNorm(6, bias=False, eps=0.1)),
    "rms norm": lambda: Permuted(nn.RMSNorm(6)),
    "of an image": lambda: Norm2d(6),
    "over positions too": lambda: nn.LayerNorm([6, 5, 7]),
    "over positions alone": lambda: nn.LayerNorm([5, 7]),
    "over rows": lambda: nn.RMSNorm(7),
    "shape of its input": lambda: Written(6, lambda net, x: x.shape[-1:]),
    "size of its input": lambda: Written(6, lambda net, x: [x.size(-1)]),
    "shape of its weight": lambda: Written(6, lambda net, x: net.scale.shape),
    "width as an attribute": lambda: Written(6, lambda net, x: (net.width,)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_over_channels_is_narrowed_with_them(assert_folds, kind):
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), NORMS[kind](), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 2, 1)
    )
    for keep in (0.01, 0.5):
        assert assert_folds(network, normal(2, 3, 7, 9), keep=keep) == {"0", "2"}


def test_the_branch_normalises_over_its_own_channels(randomise):
    network = randomise(nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2)))
    x = normal(5, 3)
    branched = add_branches(network, x, keep=0.5, init="selection")
    chosen = branched.compress["0"].weight.argmax(1)
    small = fold(branched)
    assert small[1].normalized_shape == (4,)
    hidden = network[0](x)[:, chosen]
    centred = hidden - hidden.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + network[1].eps).sqrt()
    expected = expected * network[1].weight[chosen] + network[1].bias[chosen]
    assert_equal(small(x), expected @ network[2].weight[:, chosen].T + network[2].bias)


class Stream(nn.Module):
    """A residual stream with norms before its readers, tokens along a dimension that other layers mix."""

    def __init__(self, width=8, tokens=5):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.norm1, self.norm2, self.norm = nn.LayerNorm(width), nn.RMSNorm(width), nn.LayerNorm(width)
        self.mix, self.scale = nn.Linear(tokens, tokens), nn.Parameter(torch.ones(width))
        self.fc1, self.fc2, self.head = nn.Linear(width, 11), nn.Linear(11, width), nn.Linear(width, 2)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.scale * self.mix(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x).mean(1))


def test_a_residual_stream_is_one_group_whose_norms_have_copies(assert_folds):
    network = Stream()
    groups = {group.name: group for group in channel_groups(network, torch.randn(2, 5, 3))}
    assert groups["embed"].writers == ("embed", "fc2")
    assert groups["embed"].readers == ("fc1", "head")
    for keep in (0.01, 0.5):
        assert assert_folds(network, normal(3, 5, 3), keep=keep) == {"embed", "fc1"}


def test_a_merge_of_patches_is_normalised_as_a_whole(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(net.norm(torch.cat([net.embed(x)[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1))),
        embed=nn.Linear(3, 6),
        norm=nn.LayerNorm(24),
        last=nn.Linear(24, 2),
    )
    assert assert_folds(network, normal(2, 4, 6, 3)) == {"embed"}


def test_a_norm_of_several_groups_is_fixed(functional):
    network = functional(
        lambda net, x: net.last(net.norm(torch.cat([net.left(x), net.right(x)], -1))),
        left=nn.Linear(3, 4),
        right=nn.Linear(3, 6),
        norm=nn.LayerNorm(10),
        last=nn.Linear(10, 2),
    )
    reasons = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3))}
    assert reasons["left"] == reasons["right"] == "norm mixes the channels of several groups"


def test_a_norm_that_is_called_twice_has_one_copy(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(net.norm(net.second(net.norm(net.first(x))))),
        first=nn.Linear(3, 6),
        second=nn.Linear(6, 6),
        norm=nn.LayerNorm(6),
        last=nn.Linear(6, 2),
    )
    assert assert_folds(network, normal(4, 3)) == {"first"}


def test_a_shape_that_another_module_holds_is_followed(functional, assert_folds):
    class Other(nn.Module):
        pass

    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 2)
            self.gain, self.other = nn.Parameter(torch.ones(6)), Other()
            self.other.normalized_shape = [6]

        def forward(self, x):
            return self.last(F.layer_norm(self.first(x), self.other.normalized_shape, self.gain))

    network = Owner()
    assert assert_folds(network, normal(4, 3)) == {"first"}
    small = fold(add_branches(network, normal(4, 3), keep=0.5))
    assert small.other.normalized_shape == [3]
    assert network.other.normalized_shape == [6]
