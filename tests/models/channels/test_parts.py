"""Channels that code takes apart: each part is a group of its own, or tied where the code demands equal ones."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from small_networks import conv
from torch import nn

from branchfold.models import channel_groups, fold
from branchfold.models.branching import branched_at


def halves(net, x):
    a, b = net.stem(x).chunk(2, dim=1)
    return net.last(torch.cat([torch.relu(net.mid(a)), b, a], 1))


def gated(net, x):
    a, b = torch.chunk(net.norm(net.stem(x)), 2, 1)
    return net.last(a * torch.sigmoid(b))


def half_by_shape(net, x):
    y = F.relu(net.stem(x))
    c = y.shape[1]
    return net.last(torch.cat([net.mid(y[:, : c // 2]), y[:, c // 2 :]], 1))


def stacked(net, x):
    y = torch.stack([net.stem(x), net.other(x)], dim=1)
    gate = torch.softmax(torch.stack([net.g1(y.sum(1).mean((2, 3))), net.g2(y.amax(1).mean((2, 3)))], 1), dim=1)
    return net.last((y * gate[..., None, None]).sum(dim=1))


def unbound(net, x):
    a, b, c = net.stem(x).view(2, 3, -1, 7, 9).unbind(1)
    return net.last(a * b + c)


def shuffled(net, x):
    y = torch.cat([net.stem(x), net.other(x)], 1)
    b, c, h, w = y.size()
    y = y.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)
    a, z = y.chunk(2, 1)
    return net.last(torch.cat([net.mid(a), z], 1))


def squeeze(net, x):
    y = net.norm(net.stem(x))
    b, c, _, _ = y.size()
    gate = net.up(F.relu(net.down(F.adaptive_avg_pool2d(y, 1).view(b, c)))).view(b, c, 1, 1)
    return net.last(y * torch.sigmoid(gate).expand_as(y))


def cut_in_two_ways(net, x):
    return net.last(torch.cat([net.stem(x), net.other(x)], 1)) + net.last(net.right(x))


def every_second(net, x):
    return net.last(torch.tanh(net.stem(x)[:, ::2]))


def upscaled(net, x):
    return net.last(F.relu(net.shuffle(net.norm(net.stem(x)))))


def downscaled(net, x):
    return net.last(F.relu(F.pixel_unshuffle(net.stem(x)[:, :, 1:, 1:], 2)))


def interleaved(net, x):
    return net.last(net.norm(net.shuffle(torch.cat([net.stem(x), net.other(x)], 1))))


def positions_last(net, x):
    y = net.stem(x)
    b, c = y.shape[:2]
    return net.fc(y.view(b, c, -1).transpose(1, 2)).mean(1)


def shape_added(net, x):
    y = net.stem(x)
    y = y.reshape((y.shape[0], 2, y.shape[1] // 2) + y.shape[2:]).sum(1)  # noqa: RUF005  as people write it
    return net.last(y)


PARTS = {
    "halves": (halves, {"stem": conv(3, 8), "mid": conv(4, 5), "last": conv(13, 2)}, {"stem", "mid"}),
    "gated": (gated, {"stem": conv(3, 8), "norm": nn.BatchNorm2d(8), "last": conv(4, 2)}, {"stem"}),
    "half by shape": (half_by_shape, {"stem": conv(3, 8), "mid": conv(4, 3), "last": conv(7, 2)}, {"stem", "mid"}),
    "stacked": (
        stacked,
        {"stem": conv(3, 6), "other": conv(3, 6, 1), "g1": nn.Linear(6, 6), "g2": nn.Linear(6, 6), "last": conv(6, 2)},
        {"stem"},
    ),
    "unbound": (unbound, {"stem": conv(3, 12), "last": conv(4, 2)}, {"stem"}),
    "shuffled": (
        shuffled,
        {"stem": conv(3, 8, bias=False), "other": conv(3, 8), "mid": conv(8, 5), "last": conv(13, 2)},
        {"stem", "mid"},
    ),
    "squeeze": (
        squeeze,
        {
            "stem": conv(3, 8),
            "norm": nn.BatchNorm2d(8),
            "down": nn.Linear(8, 4),
            "up": nn.Linear(4, 8),
            "last": conv(8, 2),
        },
        {"stem", "down"},
    ),
    "cut in two ways": (
        cut_in_two_ways,
        {"stem": conv(3, 4), "other": conv(3, 2), "right": conv(3, 6), "last": conv(6, 2)},
        {"stem", "other"},
    ),
    "every second": (every_second, {"stem": conv(3, 8), "last": conv(4, 2)}, {"stem"}),
    "upscaled": (
        upscaled,
        {"stem": conv(3, 24), "norm": nn.BatchNorm2d(24), "shuffle": nn.PixelShuffle(2), "last": conv(6, 2)},
        {"stem"},
    ),
    "downscaled": (downscaled, {"stem": conv(3, 4), "last": conv(16, 2)}, {"stem"}),
    "interleaved": (
        interleaved,
        {
            "stem": conv(3, 4),
            "other": conv(3, 8),
            "norm": nn.BatchNorm2d(12),
            "shuffle": nn.ChannelShuffle(3),
            "last": conv(12, 2),
        },
        {"stem"},
    ),
    "unflattened": (
        lambda net, x: net.last(net.stem(x).unflatten(1, (2, -1)).softmax(1)[:, 0] + net.flat(net.stem(x)).amax(1)),
        {"stem": conv(3, 8), "flat": nn.Unflatten(1, (2, -1)), "last": conv(4, 2)},
        {"stem"},
    ),
    "positions last": (positions_last, {"stem": conv(3, 6), "fc": nn.Linear(6, 2)}, {"stem"}),
    "shape added": (shape_added, {"stem": conv(3, 8), "last": conv(4, 2)}, {"stem"}),
}


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_channels_taken_apart_fold(functional, assert_folds, kind):
    forward, layers, names = PARTS[kind]
    for keep in (0.3, 0.6):
        assert assert_folds(functional(forward, **layers), normal(2, 3, 7, 9), keep=keep) == names


@pytest.mark.parametrize(("channels", "parts", "least"), [(8, 3, 3), (88, 3, 30), (11, 4, 3), (7, 2, 4), (14, 5, 3)])
def test_a_smaller_last_chunk_shares_the_channels_of_the_others(functional, assert_folds, channels, parts, least):
    """Every width of both sets gives the same places, so the parts that are added stay equally wide."""
    network = functional(
        lambda net, x: net.last(torch.cat([sum((y := net.stem(x).chunk(parts, 1))[:-1]).relu(), y[-1]], 1)),
        stem=conv(3, channels),
        last=conv(channels - (parts - 2) * least, 2),
    )
    names = assert_folds(network, normal(2, 3, 5, 6))
    assert "stem" in names
    widths = {group.name: group.width for group in channel_groups(network, normal(2, 3, 5, 6))}
    shared, more = widths["stem"], least - widths["stem"]
    for k, extra in ((1, more), (max(1, shared - 1), 1), (shared // 2 + 1, more)):
        kept = {name: n for name, n in {"stem": k, "stem#2": extra}.items() if n < widths.get(name, 0)}
        small = fold(branched_at(network, normal(2, 3, 5, 6), widths=kept, init="selection"))
        assert small.stem.out_channels == parts * k + (parts - 1) * extra
        small(normal(3, 3, 5, 6))


def test_a_slice_of_all_channels_leaves_them_free(functional, assert_folds):
    network = functional(lambda net, x: net.last(net.stem(x)[:, :8]), stem=conv(3, 8), last=conv(8, 2))
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"stem"}
