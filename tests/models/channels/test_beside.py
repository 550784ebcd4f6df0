"""Channels that flow beside others and over themselves: in place, along neighbours, between zeros, past a branch."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from small_networks import Widths, conv, reasons
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


def in_place_while_in_use(net, x):
    y = net.norm(net.stem(x))
    z = net.mid(net.act(y))
    y.mul_(0.5)
    return net.last(torch.cat([y, z], 1))


def changed_again_and_again(net, x):
    y = net.stem(x)
    a = F.relu(y, inplace=True)
    y += net.mid(a)
    F.silu(y, inplace=True)
    return net.last(y + a)


def neighbours(net, x):
    """As in ECA-Net: a convolution along the channels."""
    y = net.norm(net.stem(x))
    gate = y.mean((2, 3)).view(y.shape[0], 1, -1)
    gate = torch.sigmoid(net.along(gate)).view(y.shape[0], -1, 1, 1)
    return net.last(y * gate.expand_as(y))


def tokens(net, x):
    """As in MLP-Mixer: a linear layer over the positions, all channels alike."""
    y = net.stem(x).flatten(2)
    return net.last(y + net.mix2(F.gelu(net.mix1(y))))


def padded(net, x):
    """As in option A of ResNets: the shortcut's channels between zeros."""
    y = F.relu(net.norm(net.stem(x)))
    short = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))
    return net.last(F.relu(net.conv2(F.relu(net.conv1(y))) + short))


def scaled(net, x):
    a, b = (net.stem(x) * net.gamma).split(net.sizes, 1)
    return net.last(torch.cat([net.mid(b), a], 1))


STREAMS = {
    "in place while in use": (
        in_place_while_in_use,
        {"stem": conv(3, 6), "norm": nn.BatchNorm2d(6), "act": nn.LeakyReLU(0.1, True), "mid": conv(6, 4)},
        conv(10, 2),
        {"stem", "mid"},
    ),
    "changed again and again": (changed_again_and_again, {"stem": conv(3, 6), "mid": conv(6, 6)}, conv(6, 2), {"stem"}),
    "neighbours": (
        neighbours,
        {"stem": conv(3, 8), "norm": nn.BatchNorm2d(8), "along": nn.Conv1d(1, 1, 3, padding=1)},
        conv(8, 2),
        {"stem"},
    ),
    "tokens": (
        tokens,
        {"stem": conv(3, 6), "mix1": nn.Linear(63, 5), "mix2": nn.Linear(5, 63)},
        nn.Conv1d(6, 2, 1),
        {"stem"},
    ),
    "padded": (
        padded,
        {
            "stem": conv(3, 6),
            "norm": nn.BatchNorm2d(6),
            "conv1": nn.Conv2d(6, 7, 3, stride=2, padding=1),
            "conv2": conv(7, 11),
        },
        conv(11, 2),
        {"stem", "conv1"},
    ),
    "scaled": (scaled, {"stem": conv(3, 10), "mid": conv(6, 4)}, conv(8, 2), {"stem", "stem#2", "mid"}),
}


@pytest.mark.parametrize("kind", sorted(STREAMS))
def test_what_flows_beside_and_over_itself_folds(assert_folds, kind):
    forward, layers, last, names = STREAMS[kind]
    network = Widths(forward, {**layers, "last": last}, sizes=[4, 6])
    network.gamma = nn.Parameter(torch.randn(10, 1, 1))
    assert assert_folds(network, normal(2, 3, 7, 9)) == names


def test_neighbours_of_several_groups_are_fixed(functional):
    def forward(net, x):
        y = torch.cat([net.stem(x), net.other(x)], 1)
        return net.last(y * net.along(y.mean((2, 3))[:, None]).transpose(1, 2)[..., None])

    layers = {"stem": conv(3, 4), "other": conv(3, 4), "along": nn.Conv1d(1, 1, 3, padding=1), "last": conv(8, 2)}
    found = reasons(functional(forward, **layers), torch.randn(2, 3, 7, 9))
    assert found["stem"] == found["other"] == "along mixes the channels of several groups"


def test_channels_beside_written_zeros_are_fixed_with_the_reason():
    layers = {"stem": conv(3, 6), "norm": nn.BatchNorm2d(6), "conv1": nn.Conv2d(6, 7, 3, stride=2, padding=1)}
    network = Widths(padded, {**layers, "conv2": conv(7, 11), "last": conv(11, 2)})
    found = {group.name: (group.width, group.reason) for group in channel_groups(network, torch.randn(2, 3, 7, 9))}
    reason = "the code pads with a written number of channels; kept as an attribute it would be free"
    assert found["conv2"] == (2, reason)
    assert found["conv2#3"] == (3, reason)
    assert found["stem"] == (6, "")


def test_what_is_taken_from_beside_a_branch_comes_from_the_layers_that_stay(randomise, randomise_branches):
    """The narrow copy of the norm holds the other part's channels, too, and trains with them."""

    def forward(net, x):
        a, b = torch.split(net.norm(net.stem(x)), net.sizes, 1)
        return net.last(torch.relu(a)) + net.other(b) * b.mean(1, keepdim=True)[:, :, 1:, 1:]

    layers = {"stem": conv(3, 10), "norm": nn.BatchNorm2d(10), "last": nn.Conv2d(4, 2, 2), "other": nn.Conv2d(6, 2, 2)}
    network, x = randomise(Widths(forward, layers, sizes=[4, 6])), normal(2, 3, 7, 9)
    for group in ("stem", "stem#2"):
        branched = add_branches(network, x, keep={group: 0.5}, init="least-squares")
        assert_equal(branched(x), network(x))
        randomise_branches(branched).set_alpha(0)
        small = fold(branched)
        for mode in (False, True, False):
            assert_equal(small.train(mode)(x), branched.train(mode)(x))
