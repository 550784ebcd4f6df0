"""Channels that code takes apart: each part is a group of its own, or tied where the code demands equal ones."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.branching import branched_at
from branchfold.models.checkpoints import NetworkDescription, load_network, save_network


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv(i, o, k=3, **options):
    return nn.Conv2d(i, o, k, padding=k // 2, **options)


def reasons(network, x):
    return {group.name: group.reason for group in channel_groups(network, x)}


class Widths(nn.Module):
    """A module whose attributes are widths."""

    def __init__(self, forward, layers, **numbers):
        super().__init__()
        self.compute = forward
        for name, layer in layers.items():
            setattr(self, name, layer)
        for name, value in numbers.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.compute(self, x)


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


def res2net(net, x):
    y = F.relu(net.norm(net.stem(x)))
    parts = torch.split(y, net.width, 1)
    found = [(part := net.convs[0](parts[0]))]
    for i in (1, 2):
        part = net.convs[i](part + parts[i])
        found.append(part)
    return net.last(torch.cat([*found, parts[3]], 1))


def res2net_layers():
    return {
        "stem": conv(3, 16, bias=False),
        "norm": nn.BatchNorm2d(16),
        "convs": nn.ModuleList([conv(4, 4) for _ in range(3)]),
        "last": conv(16, 2),
    }


def partial(net, x):
    y = net.stem(x)
    around, through = y[:, : net.part], y[:, net.part :]
    return net.last(torch.cat([net.mid(through), around], dim=1))


def listed(net, x):
    parts = torch.split(net.stem(x), net.splits, dim=1)
    return net.last(torch.cat([net.convs[0](parts[0]), net.convs[1](parts[1])], 1))


def halved(net, x):
    y = net.stem(x)
    a, b = y.split(net.channels // 2, dim=1)
    return net.last(torch.cat([net.mid(b), a], 1))


def narrowed(net, x):
    y = net.stem(x)
    return net.last(net.mid(y.narrow(1, 0, net.part)) + y.narrow(1, net.part, net.rest))


def viewed(net, x):
    y = net.stem(x).view(x.shape[0], net.groups, net.width, 7, 9)
    return net.last(y.sum(1))


ATTRIBUTES = {
    "res2net": (res2net, res2net_layers, {"width": 4}, {"stem", "convs.2"}, {"width": 2}),
    "partial": (
        partial,
        lambda: {"stem": conv(3, 10), "mid": conv(6, 5), "last": conv(9, 2)},
        {"part": 4},
        {"stem", "stem#2", "mid"},
        {"part": 2},
    ),
    "listed": (
        listed,
        lambda: {
            "stem": conv(3, 10),
            "convs": nn.ModuleList([conv(4, 2), conv(6, 4)]),
            "last": conv(6, 2),
        },
        {"splits": [4, 6]},
        {"stem", "stem#2", "convs.0", "convs.1"},
        {"splits": [2, 3]},
    ),
    "halved": (
        halved,
        lambda: {"stem": conv(3, 12), "mid": conv(6, 4), "last": conv(10, 2)},
        {"channels": 12},
        {"stem", "mid"},
        {"channels": 6},
    ),
    "narrowed": (
        narrowed,
        lambda: {"stem": conv(3, 10), "mid": conv(4, 6), "last": conv(6, 2)},
        {"part": 4, "rest": 6},
        {"stem", "stem#2"},
        {"part": 2, "rest": 3},
    ),
    "viewed": (
        viewed,
        lambda: {"stem": conv(3, 12), "last": conv(4, 2)},
        {"groups": 3, "width": 4},
        {"stem"},
        {"groups": 3, "width": 2},
    ),
}


@pytest.mark.parametrize("kind", sorted(ATTRIBUTES))
def test_widths_kept_as_attributes_are_rewritten_in_the_folded_copy(assert_folds, kind):
    forward, layers, numbers, names, rewritten = ATTRIBUTES[kind]
    network = Widths(forward, layers(), **numbers)
    x = normal(2, 3, 7, 9)
    assert assert_folds(network, x) == names
    small = fold(add_branches(network, x, keep=0.5))
    assert {name: getattr(small, name) for name in numbers} == rewritten
    assert {name: getattr(network, name) for name in numbers} == numbers
    assert all(type(getattr(network, name)) in (int, list) for name in numbers)
    told = {attribute for group in channel_groups(network, x) for attribute in group.attributes}
    assert {attribute.split("[")[0] for attribute in told} == {n for n in numbers if rewritten[n] != numbers[n]}


def test_an_attribute_that_is_used_for_something_else_too_fixes_its_channels():
    def forward(net, x):
        a, b = torch.split(net.stem(x), net.width, 1)
        return net.last(a * b / net.width)

    network = Widths(forward, {"stem": conv(3, 8), "last": conv(4, 2)}, width=4)
    reason = reasons(network, torch.randn(2, 3, 7, 9))["stem"]
    assert reason.startswith("div uses width, its number of channels at ")


def test_parts_have_widths_of_their_own():
    network = Widths(partial, {"stem": conv(3, 10), "mid": conv(6, 5), "last": conv(9, 2)}, part=4).double()
    x = normal(2, 3, 7, 9)
    groups = {group.name: (group.width, group.writers) for group in channel_groups(network, x)}
    assert groups["stem"] == (4, ("stem",))
    assert groups["stem#2"] == (6, ("stem",))
    small = fold(add_branches(network, x, keep={"stem": 3, "stem#2": 2}))
    assert small.stem.weight.shape[0] == 5
    assert small.part == 3
    assert small.mid.weight.shape[1] == 2
    small = fold(add_branches(network, x, keep={"stem#2": 2}))
    assert (small.stem.weight.shape[0], small.part) == (6, 4)


HARD_CODED = {
    "split": (lambda net, x: net.mid(x.split(4, 1)[1]), "split hard-codes the sizes of its parts"),
    "split in sizes": (lambda net, x: net.mid(x.split([4, 4], 1)[0]), "split hard-codes the sizes of its parts"),
    "fewer chunks": (
        lambda net, x: net.mid(torch.cat(x.chunk(5, 1)[:2], 1)),
        "chunk hard-codes the sizes of its parts",
    ),
    "slice": (lambda net, x: net.mid(x[:, :4]), "getitem hard-codes the channels that it takes"),
    "one channel": (lambda net, x: net.mid(x[:, 0, None].expand(-1, 4, -1, -1)), "getitem is not known"),
    "groups": (lambda net, x: x.view(2, 2, 4, 7, 9).sum(1), "view hard-codes its shape at "),
    "apart one by one": (lambda net, x: x.unbind(1)[0][:, None] * net.four, "takes its channels or the batch apart"),
}


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


@pytest.mark.parametrize("kind", sorted(HARD_CODED))
def test_literals_fix_the_channels_with_the_reason(functional, kind):
    forward, reason = HARD_CODED[kind]
    network = functional(
        lambda net, x: net.last(forward(net, net.stem(x))),
        stem=conv(3, 8),
        mid=conv(4, 4),
        last=conv(4, 2),
    )
    network.four = nn.Parameter(torch.ones(4, 1, 1))
    assert reason in reasons(network, torch.randn(2, 3, 7, 9))["stem"]


def test_a_slice_of_all_channels_leaves_them_free(functional, assert_folds):
    network = functional(lambda net, x: net.last(net.stem(x)[:, :8]), stem=conv(3, 8), last=conv(8, 2))
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"stem"}


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


def test_attributes_used_where_no_graph_shows_them_are_found_by_running():
    def forward(net, x):
        a, b = torch.split(net.stem(x), net.width, 1)
        return net.last(a * b) * len(range(net.width))

    network = Widths(forward, {"stem": conv(3, 8), "last": conv(4, 2)}, width=4).double()
    branched = add_branches(network, normal(2, 3, 7, 9), keep=0.5)
    with pytest.raises(NetworkError, match=r"computes something else than its branches: the code uses width, which"):
        fold(branched)


def test_a_reason_names_the_line_and_what_would_do(functional):
    network = functional(lambda net, x: net.fc(net.stem(x).view(2, 8 * 63)), stem=conv(3, 8), fc=nn.Linear(504, 2))
    (stem, _) = channel_groups(network, torch.randn(2, 3, 7, 9))
    assert stem.reason.startswith("view hard-codes its shape at ")
    assert "test_parts.py:" in stem.reason
    assert stem.reason.endswith("`x.flatten(1)` would not")


def test_a_checkpoint_of_a_network_with_rewritten_attributes_is_rebuilt(randomise, tmp_path):
    def factory():
        return Widths(res2net, res2net_layers(), width=4)

    network, x = randomise(factory()), normal(2, 3, 7, 9)
    branched = add_branches(network, x, keep=0.5)
    small, path = fold(branched), tmp_path / "small.safetensors"
    widths = dict(branched.plan.widths)
    save_network(small, path, NetworkDescription("factory", {}, [3, 7, 9], widths, dtype="float64"))
    again = load_network(path, factory)
    assert again.width == small.width == 2
    torch.testing.assert_close(again(x), small(x), rtol=1e-12, atol=1e-12)


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
