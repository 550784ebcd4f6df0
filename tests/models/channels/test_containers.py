"""What a network returns stays what it is: ordered dicts, named tuples, and one in the other."""

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from branchfold.models import add_branches, channel_groups, fold

X = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Heads(NamedTuple):
    main: Tensor
    others: OrderedDict[str, Tensor]


def ordered(net, y):
    return OrderedDict(b=net.left(y), a=net.right(y))


def in_a_tuple(net, y):
    return net.left(y), [OrderedDict(a=net.right(y))]


def named(net, y):
    return Heads(net.left(y), OrderedDict(z=net.right(y), y=y.mean((2, 3))))


def more_in_training(net, y):
    result = OrderedDict(out=net.left(y))
    if net.training:
        result["aux"] = net.right(y)
    return result


def in_training_only(net, y):
    return OrderedDict(out=net.left(y), aux=net.right(y)) if net.training else net.left(y)


def plain(net, y):
    return {"b": net.left(y), "a": net.right(y)}


def flat(output):
    if isinstance(output, Tensor):
        return [output]
    return [x for part in (output.values() if isinstance(output, dict) else output) for x in flat(part)]


def shape(output):
    """Types and keys, all the way down."""
    if isinstance(output, Tensor):
        return Tensor
    if isinstance(output, dict):
        return type(output), [(key, shape(value)) for key, value in output.items()]
    return type(output), [shape(value) for value in output]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("head", [ordered, in_a_tuple, named, more_in_training, in_training_only, plain])
def test_the_branched_network_returns_what_the_original_returns(functional, randomise, head, training):
    layers = {
        "stem": nn.Conv2d(3, 6, 3),
        "conv": nn.Conv2d(6, 6, 3),
        "left": nn.Conv2d(6, 2, 1),
        "right": nn.Conv2d(6, 4, 3),
    }
    network = randomise(functional(lambda net, x: head(net, net.conv(torch.relu(net.stem(x)))), **layers))
    groups = {group.name: group.reason for group in channel_groups(network, X)}
    assert groups.pop("stem") == ""
    assert groups.pop("conv") == ("it is the network's output" if head is named else "")
    assert set(groups.values()) == {"it is the network's output"}
    network.train(training)
    branched = add_branches(network, X, keep=0.5)
    wanted = network(X)
    assert shape(branched(X)) == shape(wanted)
    assert all(map(torch.equal, flat(branched(X)), flat(wanted)))
    branched.set_alpha(0)
    small = fold(branched)
    assert shape(small(X)) == shape(wanted)
    for mine, theirs in zip(flat(small(X)), flat(branched(X)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * float(theirs.detach().abs().max()))
