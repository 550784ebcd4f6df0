"""Channels that other dimensions carry, and channelwise layers of other libraries."""

import re

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn
from torchvision.ops import FrozenBatchNorm2d, Permute, StochasticDepth, stochastic_depth

from branchfold.models import add_branches, channel_groups, fold


def convnext(net, x):
    """Permute → Linear → GELU → Linear → permute, beside a depthwise convolution, with a residual sum."""
    x = net.stem(x)
    y = net.fc1(net.depthwise(x).permute(0, 2, 3, 1))
    y = net.fc2(F.gelu(y)).permute(0, 3, 1, 2)
    return net.last(x + y)


def sequential(net, x):
    return net.last(nn.Sequential.forward(net.mlp, net.stem(x)))


def positions_last(net, x):
    return net.fc2(torch.relu(net.fc1(net.stem(x).flatten(2).transpose(1, 2))))


def there_and_back(net, x):
    y = net.fc1(torch.flatten(net.norm(net.stem(x)), 2).transpose(-1, -2))
    y = torch.transpose(F.silu(y), 1, 2)
    return net.conv(net.act(y))


def joined_last(net, x):
    """A concat along the last dimension, of two permuted tensors."""
    a = net.stem(x).permute([0, 2, 3, 1])
    b = torch.permute(torch.tanh(net.other(x)), (0, -2, -1, -3))
    return net.fc(torch.cat([a, F.relu(net.fc1(a)), b], dim=-1))


def gated(net, x):
    y = net.stem(x).permute(0, 2, 3, 1)
    return net.last((y * torch.sigmoid(net.fc1(y))).permute(0, 3, 1, 2))


def channels_second_to_last(net, x):
    y = net.fc1(net.stem(x).permute(0, 2, 3, 1)).transpose(2, 3)
    return net.fc2(torch.tanh(y).transpose(3, 2))


def batch_behind(net, x):
    y = torch.relu(net.fc1(net.stem(x).permute(2, 0, 3, 1)))
    return net.fc2(torch.stack([y[0] + y[1:].amax(0), y.select(0, 1)], 0).unbind(0)[1][:, None].squeeze(1))


PERMUTED = {
    "convnext": (
        convnext,
        lambda: {
            "stem": nn.Conv2d(3, 6, 3),
            "depthwise": nn.Conv2d(6, 6, (3, 5), padding=(1, 2), groups=6),
            "fc1": nn.Linear(6, 9),
            "fc2": nn.Linear(9, 6, bias=False),
            "last": nn.Conv2d(6, 2, 3),
        },
        {"stem", "fc1"},
    ),
    "modules": (
        sequential,
        lambda: {
            "stem": nn.Conv2d(3, 6, 3),
            "mlp": nn.Sequential(
                Permute([0, 2, 3, 1]), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 5), Permute([0, 3, 1, 2])
            ),
            "last": nn.Conv2d(5, 2, 3),
        },
        {"stem", "mlp.1", "mlp.3"},
    ),
    "positions last": (
        positions_last,
        lambda: {"stem": nn.Conv2d(3, 6, 3), "fc1": nn.Linear(6, 5), "fc2": nn.Linear(5, 2)},
        {"stem", "fc1"},
    ),
    "there and back": (
        there_and_back,
        lambda: {
            "stem": nn.Conv2d(3, 6, 3),
            "norm": nn.BatchNorm2d(6),
            "fc1": nn.Linear(6, 5),
            "act": nn.PReLU(5),
            "conv": nn.Conv1d(5, 2, 3),
        },
        {"stem", "fc1"},
    ),
    "joined": (
        joined_last,
        lambda: {
            "stem": nn.Conv2d(3, 6, 3),
            "other": nn.Conv2d(3, 4, 3),
            "fc1": nn.Linear(6, 5),
            "fc": nn.Linear(15, 2),
        },
        {"stem", "other", "fc1"},
    ),
    "gated": (
        gated,
        lambda: {"stem": nn.Conv2d(3, 6, 3), "fc1": nn.Linear(6, 6), "last": nn.Conv2d(6, 2, 2)},
        {"stem"},
    ),
    "batch behind": (
        batch_behind,
        lambda: {"stem": nn.Conv2d(3, 6, 3), "fc1": nn.Linear(6, 5), "fc2": nn.Linear(5, 2)},
        {"stem", "fc1"},
    ),
    "second to last": (
        channels_second_to_last,
        lambda: {"stem": nn.Conv2d(3, 6, 3), "fc1": nn.Linear(6, 5), "fc2": nn.Linear(5, 2)},
        {"stem", "fc1"},
    ),
}


@pytest.mark.parametrize("kind", sorted(PERMUTED))
def test_channels_that_move_to_another_dimension_fold(functional, assert_folds, kind):
    forward, layers, names = PERMUTED[kind]
    for keep in (0.01, 0.5):
        assert assert_folds(functional(forward, **layers()), normal(2, 3, 7, 9), keep=keep) == names


REFUSED = {
    "named axes": (
        lambda net, x: net.fc(net.stem(x).transpose(dim0=1, dim1=3)),
        "transpose is not known to treat each channel on its own",
    ),
    "normalised": (
        lambda net, x: net.fc(F.layer_norm(net.stem(x).permute(0, 2, 3, 1), [6])),
        "layer_norm hard-codes its number of channels",
    ),
    "pooled along the channels": (
        lambda net, x: net.fc(F.max_pool2d(net.stem(x).permute(0, 2, 3, 1), (2, 1)).relu()),
        "its channels are used along another dimension by permute",
    ),
    "reduced": (lambda net, x: net.fc(net.stem(x).permute(0, 2, 3, 1).mean(0)), "reduces over the batch"),
    "flattened": (lambda net, x: net.wide(net.stem(x).permute(0, 2, 3, 1).reshape(2, 210)), "hard-codes"),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_permuted_channels_cannot_pass_is_told(functional, kind):
    forward, reason = REFUSED[kind]
    network = functional(
        forward,
        stem=nn.Conv2d(3, 6, 3),
        fc=nn.Linear(6, 2),
        narrow=nn.Linear(7, 2),
        wide=nn.Linear(5 * 7 * 6, 2),
    )
    (stem, *_) = channel_groups(network, torch.randn(2, 3, 7, 9))
    assert not stem.prunable
    assert re.search(reason, stem.reason), stem.reason


def frozen_norm(width):
    layer = FrozenBatchNorm2d(width)
    generator = torch.Generator().manual_seed(3)
    for name, value in layer.named_buffers():
        value.copy_(torch.rand(width, generator=generator) + (0.3 if "var" in name else -0.2))
    return layer


def test_a_frozen_batch_norm_folds_and_its_buffers_are_narrowed(assert_folds):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), frozen_norm(8), nn.ReLU(inplace=True), nn.Conv2d(8, 5, 3), frozen_norm(5)
    )
    network.append(nn.Flatten())
    network.append(nn.Linear(5 * 3 * 5, 2))
    x = normal(2, 3, 7, 9)
    assert assert_folds(network, x) == {"0", "3"}
    branched = add_branches(network, x, keep={"0": 3})
    chosen = branched.compress["0"].weight.argmax(1)
    small = fold(branched)
    for name, buffer in small[1].named_buffers():
        assert torch.equal(buffer, network[1].get_buffer(name)[chosen]), name
    assert not list(small[1].parameters())
    assert "FrozenBatchNorm2d(3, " in repr(small[1])


def test_a_frozen_batch_norm_over_a_concat_folds_part_by_part(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(F.relu(net.norm(torch.cat([net.a(x), net.b(x)], 1)))),
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 6, 3),
        norm=frozen_norm(10),
        last=nn.Conv2d(10, 2, 1),
    )
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"a", "b"}


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("tracked", [False, True])
def test_instance_norms_fold(assert_folds, randomise, affine, tracked):
    options = {"affine": affine, "track_running_stats": tracked}
    for dims in (1, 2, 3):
        conv, norm = getattr(nn, f"Conv{dims}d"), getattr(nn, f"InstanceNorm{dims}d")
        network = nn.Sequential(conv(3, 6, 2), norm(6, **options), nn.ReLU(), conv(6, 5, 2), norm(5, **options))
        network.append(conv(5, 2, 1))
        if tracked:
            for layer in (network[1], network[4]):
                layer.running_mean.uniform_(-1, 1)
                layer.running_var.uniform_(0.3, 2)
        assert assert_folds(network, normal(3, 3, *(5, 6, 4)[:dims])) == {"0", "3"}
        small = fold(add_branches(network, normal(3, 3, *(5, 6, 4)[:dims]), keep={"0": 4}))
        assert small[1].num_features == 4


def test_an_instance_norm_of_features_is_not_channelwise():
    """It takes (N, F) for one example of N channels, and normalises over the features."""
    network = nn.Sequential(nn.Linear(4, 5), nn.InstanceNorm1d(5), nn.Linear(5, 2))
    (first, _) = channel_groups(network, torch.randn(5, 4))
    assert first.reason == "1 is called without a batch dimension; with one it would be free"


@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_folds(functional, assert_folds, mode):
    network = functional(
        lambda net, x: net.last(
            (y := net.stem(x)) + stochastic_depth(F.relu(net.conv(net.drop(y))), 0.0, mode, net.training)
        ),
        stem=nn.Conv2d(3, 6, 3),
        drop=StochasticDepth(0.0, mode),
        conv=nn.Conv2d(6, 6, 3, padding=1),
        last=nn.Conv2d(6, 2, 1),
    )
    assert assert_folds(network, normal(4, 3, 7, 9)) == {"stem"}


def test_stochastic_depth_drops_in_training_only(functional, randomise):
    network = functional(
        lambda net, x: net.last(net.drop(net.stem(x))),
        stem=nn.Conv2d(3, 6, 3),
        drop=StochasticDepth(0.5, "row"),
        last=nn.Conv2d(6, 2, 1, bias=False),
    )
    x = normal(64, 3, 5, 6)
    small = fold(add_branches(randomise(network), x[:2], keep=0.5))
    assert bool(small(x).flatten(1).any(1).all())
    torch.manual_seed(0)
    dropped = ~small.train()(x).flatten(1).any(1)
    assert 16 < int(dropped.sum()) < 48


def test_a_dropped_path_that_the_shortcut_is_added_to_in_place_folds(functional, randomise):
    """In evaluation `+=` changes what the path gave; in training that is read again, but by the draw before `+=`."""

    def forward(net, x):
        shortcut = net.stem(x)
        for conv, drop in ((net.first, net.drop), (net.second, net.drop)):
            path = drop(conv(shortcut) * 0.5)
            path += shortcut
            shortcut = path
        return net.last(shortcut)

    network = functional(
        forward,
        stem=nn.Conv2d(3, 6, 3),
        first=nn.Conv2d(6, 6, 3, padding=1),
        second=nn.Conv2d(6, 6, 3, padding=1),
        drop=StochasticDepth(0.4, "row"),
        last=nn.Conv2d(6, 2, 1),
    )
    randomise(network)
    assert [group.prunable for group in channel_groups(network, normal(4, 3, 7, 9))] == [True, False]
    branched = add_branches(network, normal(4, 3, 7, 9), keep=0.5, init="kaiming")
    branched.set_alpha(0.0)
    folded, x = fold(branched), normal(64, 3, 7, 9)
    for mode in (False, True):
        torch.manual_seed(0)
        expected = branched.train(mode)(x)
        torch.manual_seed(0)
        torch.testing.assert_close(folded.train(mode)(x), expected, rtol=1e-9, atol=1e-12)


def test_examples_and_positions_repeated_keep_their_channels(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(torch.repeat_interleave(net.first(x), 2, dim=0).repeat_interleave(3, dim=2)),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 3),
    )
    assert assert_folds(network, normal(2, 3, 5, 6)) == {"first"}
    doubled = functional(
        lambda net, x: net.last(net.first(x).repeat_interleave(2, dim=1)),
        first=nn.Conv2d(3, 3, 1),
        last=nn.Conv2d(6, 2, 3),
    )
    reason = channel_groups(doubled, torch.randn(2, 3, 5, 6))[0].reason
    assert reason.startswith("repeat_interleave repeats its channels")
