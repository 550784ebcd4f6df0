"""Widths that a network keeps as attributes: the folded copy has them rewritten, and so has its checkpoint."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from small_networks import Widths, conv, reasons
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.checkpoints import NetworkDescription, load_network, save_network


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


def test_attributes_used_where_no_graph_shows_them_are_found_by_running():
    def forward(net, x):
        a, b = torch.split(net.stem(x), net.width, 1)
        return net.last(a * b) * len(range(net.width))

    network = Widths(forward, {"stem": conv(3, 8), "last": conv(4, 2)}, width=4).double()
    branched = add_branches(network, normal(2, 3, 7, 9), keep=0.5)
    with pytest.raises(NetworkError, match=r"computes something else than its branches: the code uses width, which"):
        fold(branched)


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
