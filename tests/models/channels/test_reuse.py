"""Layers that are called more than once: one P, one E, one width for all calls."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.branches.network import BranchedNetwork
from branchfold.models.channels.groups import Analysis
from branchfold.models.fitting.order import fitting_order


def groups_of(network, x):
    return {group.name: group for group in channel_groups(network, x)}


def siamese(net, x):
    """Two inputs through the same layers, BatchNorm's statistics and a bias among them."""
    a, b = (net.second(net.act(net.norm(net.first(part)))) for part in (x, torch.tanh(x) + 0.5))
    return net.last(net.act(a) - torch.sigmoid(b))


def recurrent(net, x):
    """A layer on what it yields: it reads and writes one group."""
    x = net.act(net.norm(net.first(x)))
    for _ in range(3):
        x = torch.tanh(net.again(x))
    return net.last(x)


def pyramid(net, x):
    """One head on levels of different size and origin."""
    fine = F.relu(net.first(x))
    coarse = F.relu(net.down(fine))
    heads = [net.last(F.relu(net.norm(net.head(level)))) for level in (fine, coarse)]
    return heads[0] + F.interpolate(heads[1], size=heads[0].shape[2:])


def joined(net, x):
    """Two concats before one layer; their parts pair up."""
    parts = [net.left(x), net.right(x), torch.tanh(net.left(x)), F.relu(net.other(x))]
    return net.last(torch.cat(parts[:2], 1)) * net.last(torch.cat(parts[2:], 1))


def activation(net, x):
    """A PReLU of one weight on groups of different width, one of them fixed."""
    x = net.act(net.norm(net.act(net.first(x))))
    return net.act(net.last(net.act(net.second(x))))


def depthwise(net, x):
    x = F.relu(net.first(x))
    return net.last(net.depthwise(F.relu(net.depthwise(x))) + x)


def up_and_flat(net, x):
    """A transposed convolution, and a linear layer after a flatten of positions."""
    first = net.first(x)
    parts = [net.up(F.relu(first)), net.up(torch.tanh(net.other(x)))]
    return net.fc2(F.relu(net.fc(parts[0].flatten(1)))) + net.fc2(net.fc(parts[1].flatten(1)))


def conv(*arguments, **options):
    return nn.Conv2d(*arguments, padding=1, **options)


REUSED = {
    "siamese": (
        siamese,
        lambda: {
            "first": conv(3, 6, 3, bias=False),
            "norm": nn.BatchNorm2d(6),
            "act": nn.LeakyReLU(0.1, inplace=True),
            "second": nn.Conv2d(6, 5, 3, stride=2),
            "last": nn.Conv2d(5, 2, 1),
        },
        {"first", "second"},
    ),
    "recurrent": (
        recurrent,
        lambda: {
            "first": conv(3, 6, 3),
            "norm": nn.BatchNorm2d(6),
            "act": nn.ReLU(inplace=True),
            "again": conv(6, 6, 3),
            "last": nn.Conv2d(6, 2, 1),
        },
        {"first"},
    ),
    "pyramid": (
        pyramid,
        lambda: {
            "first": conv(3, 6, 3),
            "down": nn.Conv2d(6, 6, 3, stride=2),
            "norm": nn.BatchNorm2d(5),
            "head": conv(6, 5, 3),
            "last": nn.Conv2d(5, 2, 1),
        },
        {"first", "head"},
    ),
    "joined": (
        joined,
        lambda: {
            "left": conv(3, 4, 3),
            "right": conv(3, 6, 3),
            "other": conv(3, 6, 3),
            "last": nn.Conv2d(10, 2, 3),
        },
        {"left", "right"},
    ),
    "activation": (
        activation,
        lambda: {
            "first": conv(3, 6, 3),
            "norm": nn.BatchNorm2d(6),
            "act": nn.PReLU(),
            "second": conv(6, 5, 3),
            "last": nn.Conv2d(5, 2, 1),
        },
        {"first", "second"},
    ),
    "depthwise": (
        depthwise,
        lambda: {"first": conv(3, 6, 3), "depthwise": conv(6, 6, 3, groups=6), "last": nn.Conv2d(6, 2, 1)},
        {"first"},
    ),
    "up and flat": (
        up_and_flat,
        lambda: {
            "first": conv(3, 6, 3),
            "other": conv(3, 6, 3),
            "up": nn.ConvTranspose2d(6, 4, (3, 2), stride=2),
            "fc": nn.Linear(4 * 15 * 18, 5),
            "fc2": nn.Linear(5, 2),
        },
        {"first", "up", "fc"},
    ),
}


@pytest.mark.parametrize("kind", sorted(REUSED))
def test_layers_that_are_called_more_than_once_fold(functional, assert_folds, kind):
    forward, layers, names = REUSED[kind]
    for keep in (0.01, 0.5):
        assert assert_folds(functional(forward, **layers()), normal(2, 3, 7, 9), keep=keep) == names


def test_the_calls_of_a_layer_unite_what_they_read_and_write(functional):
    network = functional(pyramid, **REUSED["pyramid"][1]())
    groups = groups_of(network, normal(2, 3, 7, 9).float())
    assert (groups["first"].writers, groups["first"].readers) == (("first", "down"), ("down", "head"))
    assert (groups["head"].writers, groups["head"].readers) == (("head",), ("last",))
    network = functional(joined, **REUSED["joined"][1]())
    groups = groups_of(network, normal(2, 3, 7, 9).float())
    assert groups["right"].writers == ("right", "other")


def test_a_norm_with_statistics_unites_what_it_treats(functional):
    network = functional(
        lambda net, x: net.last(net.norm(net.left(x))) + net.last2(net.norm(net.right(x))),
        left=nn.Conv2d(3, 6, 3),
        right=nn.Conv2d(3, 6, 3),
        norm=nn.BatchNorm2d(6, affine=False),
        last=nn.Conv2d(6, 2, 1),
        last2=nn.Conv2d(6, 2, 1),
    )
    groups = groups_of(network, torch.randn(2, 3, 7, 9))
    assert (groups["left"].writers, groups["left"].readers) == (("left", "right"), ("last", "last2"))


def test_running_statistics_are_those_of_all_calls(functional, randomise, randomise_branches):
    network = randomise(functional(siamese, **REUSED["siamese"][1]()))
    x = normal(4, 3, 7, 9)
    branched = randomise_branches(add_branches(network, x, keep=0.5, init="kaiming"))
    branched.set_alpha(0)
    small = fold(branched)
    before = small.norm.num_batches_tracked.item()
    small.train()(x)
    branched.train()(x)
    assert small.norm.num_batches_tracked.item() == before + 2
    for name, value in small.norm.state_dict().items():
        torch.testing.assert_close(branched.narrow["norm"].state_dict()[name], value, rtol=1e-9, atol=1e-12)


FIXED = {
    "on the network's input": (
        lambda net, x: net.last(F.relu(net.conv(F.relu(net.conv(x))))),
        {"conv": conv(3, 3, 3), "last": nn.Conv2d(3, 2, 1)},
        "conv",
        "not produced by a layer that can be narrowed",
    ),
    "another dimension": (
        lambda net, x: net.fc((y := net.conv(x)).permute(0, 2, 3, 1)).sum((1, 2)) + net.fc(y.mean((2, 3))),
        {"conv": conv(3, 4, 3), "fc": nn.Linear(4, 2)},
        "conv",
        "fc is called 2 times, on tensors whose channels do not line up",
    ),
    "one call without a batch": (
        lambda net, x: net.last(F.relu(net.conv(net.stem(x)))) + net.last(net.conv(net.stem(x).mean(0))[None]),
        {"stem": conv(3, 4, 3), "conv": conv(4, 5, 3), "last": nn.Conv2d(5, 2, 1)},
        "conv",
        "conv is called without a batch dimension",
    ),
    "first call without a batch": (
        lambda net, x: net.last(net.conv(x.mean(0))[None]) + net.last(F.relu(net.conv(net.conv2(x)))),
        {"conv2": conv(3, 3, 3), "conv": conv(3, 5, 3), "last": nn.Conv2d(5, 2, 1)},
        "conv2",
        "conv is called without a batch dimension",
    ),
}


@pytest.mark.parametrize("kind", sorted(FIXED))
def test_calls_that_do_not_agree_fix_the_layer_with_the_reason(functional, kind):
    forward, layers, read, reason = FIXED[kind]
    groups = groups_of(functional(forward, **layers), torch.randn(2, 3, 7, 9))
    assert groups[read].reason.startswith(reason)


def test_a_shared_layer_is_fitted_to_all_of_its_calls(functional, randomise):
    """As the same layers, called once, on all the inputs together."""
    layers = {
        "first": conv(3, 12, 3),
        "norm": nn.BatchNorm2d(12),
        "second": nn.Conv2d(12, 8, 3, stride=2),
        "third": nn.Conv2d(8, 6, 3),
        "last": nn.Conv2d(6, 2, 1),
    }

    def trunk(net, x):
        x = F.relu(net.norm(net.first(x)))
        return net.last(torch.tanh(net.third(F.elu(net.second(x)))))

    once = randomise(functional(trunk, **layers))
    twice = functional(lambda net, x: trunk(net, x) - trunk(net, torch.exp(x)), **layers).eval()
    x = normal(5, 3, 11, 9)
    wanted = add_branches(once, x, keep=0.5, data=torch.cat([x, torch.exp(x)]))
    fitted = add_branches(twice, x, keep=0.5)
    assert list(fitted.alpha) == list(wanted.alpha) == ["first", "second", "third"]
    theirs = dict(wanted.named_parameters()) | dict(wanted.named_buffers())
    found = {n: t for n, t in (*fitted.named_parameters(), *fitted.named_buffers()) if n.startswith(("comp", "narrow"))}
    assert len(found) == 3 * 2 + 5
    for name, mine in found.items():
        torch.testing.assert_close(mine, theirs[name], rtol=1e-9, atol=1e-9)
    for mine, other in zip(fitted.blend.parameters(), wanted.blend.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-7)


def test_a_layer_on_what_it_yields_is_fitted_to_every_call(functional, randomise):
    layers = {
        "first": conv(3, 8, 3, bias=False),
        "again": conv(8, 8, 3, bias=False),
        "last": nn.Conv2d(8, 2, 1),
    }
    network = randomise(
        functional(lambda net, x: net.last(F.relu(net.again(F.relu(net.again(F.relu(net.first(x))))))), **layers)
    )
    x = normal(6, 3, 9, 11)
    branched = add_branches(network, x, keep=0.5)
    chosen = branched.compress["first"].weight.argmax(1)
    assert torch.equal(branched.compress["again"].weight.argmax(1), chosen)

    def expand(pairs):
        A, Z = (torch.cat([t.transpose(0, 1).flatten(1) for t in side], 1) for side in zip(*pairs, strict=True))
        ZZ = Z @ Z.T
        return torch.linalg.solve(ZZ + 1e-4 * ZZ.diagonal().mean() * torch.eye(4).double(), Z @ A.T).T

    # What arrives at α = 0, call after call, each delivered by the E that fits the calls before it.
    with torch.no_grad():
        a, z, pairs, E = x, x, [], None
        for layer in (network.first, network.again):  # the tensors that `again` reads
            a = F.relu(layer(a))
            z = F.relu(layer(z if E is None else torch.einsum("ck,nkhw->nchw", E, z)))[:, chosen]
            pairs.append((a, z))
            E = expand(pairs)
        torch.testing.assert_close(next(iter(branched.blend.parameters())), E, rtol=1e-7, atol=1e-7)
    assert len(branched.blend) == 2


def test_what_changes_tensors_in_place_is_fitted_in_the_forwards_order(functional, randomise):
    def changing(net, x):
        y = net.fixed(x)
        a = net.last(F.relu(net.first(y)))
        y.detach().mul_(0.5)
        return a + net.last(F.relu(net.first(torch.tanh(y)))) + y.mean()

    layers = {"fixed": conv(3, 3, 3), "first": conv(3, 6, 3), "last": nn.Conv2d(6, 2, 1)}
    network, x = randomise(functional(changing, **layers)), normal(2, 3, 7, 9)
    analysis = Analysis.of(network, x)
    nodes = list(BranchedNetwork.at(analysis, {"first": 3}).graph.nodes)
    assert fitting_order(nodes, analysis.graph) == [[node] for node in nodes]
    branched = add_branches(network, x, keep={"first": 3})
    shared = branched.compress["first"].weight
    assert torch.equal(shared.sum(1), torch.ones(3).double())
