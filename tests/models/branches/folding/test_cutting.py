import copy
import pickle

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold


def made(branched):
    """The same network with its branches made, which folding then multiplies."""
    assert branched.unmade is not None
    list(branched.parameters())
    assert branched.unmade is None
    return branched


def assert_same_state(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
        assert value.stride() == b.state_dict()[name].stride(), name


@pytest.mark.parametrize("channels", ["l1", "bn-scale", "random", "greedy"])
def test_branches_that_are_not_made_fold_to_what_their_products_give(example, channels):
    branched = add_branches(example.network, example.inputs, keep=0.5, init="selection", channels=channels)
    cut = fold(branched)
    assert_same_state(cut, fold(made(branched)))
    branched.set_alpha(0)
    torch.testing.assert_close(cut(example.inputs), branched(example.inputs), rtol=1e-9, atol=1e-9)
    assert all(p.requires_grad for p in cut.parameters())


def test_columns_of_layers_in_groups_are_those_of_their_group(randomise):
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, (3, 1), groups=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 5, 1),
    )  # fmt: skip
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    branched = add_branches(randomise(network), x, keep=0.5, init="selection")
    cut = fold(branched)
    assert [layer.weight.shape[:2] for layer in cut if hasattr(layer, "weight")] == [(6, 3), (4, 3), (4, 2), (5, 8)]
    branched.set_alpha(0)
    torch.testing.assert_close(cut(x), branched(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "look",
    [
        lambda branched, x: branched(x),
        lambda branched, x: list(branched.parameters()),
        lambda branched, x: branched.state_dict(),
        lambda branched, x: branched.train(),
        lambda branched, x: branched.double(),
        lambda branched, x: branched.compress,
        lambda branched, x: branched.network,
        lambda branched, x: repr(branched),
        lambda branched, x: copy.deepcopy(branched),
        lambda branched, x: pickle.dumps(branched),
        lambda branched, x: setattr(branched, "head", nn.ReLU()),
        lambda branched, x: fold(branched, groups=["0"]),
    ],
)
def test_whoever_looks_at_a_branched_network_finds_its_branches(randomise, look):
    network = randomise(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    branched = add_branches(network, x, keep=0.5, init="selection")
    assert branched.alpha == {"0": 1.0, "2": 1.0}
    assert branched.unmade is not None
    look(branched, x)
    assert branched.unmade is None
    torch.testing.assert_close(branched(x), network(x), rtol=1e-12, atol=1e-12)


def test_branches_are_those_of_the_time_when_they_were_added(randomise):
    network = randomise(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    early, late = (add_branches(network, x, keep=0.5, init="selection") for _ in range(2))
    wanted = fold(early)(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(-3)
    network.train()
    assert torch.equal(fold(late)(x), wanted)
    assert not late.training
    assert not made(late).narrow.at("1").training
    assert torch.equal(fold(late)(x), wanted)


class Counts(nn.Module):
    """Uses a width as a number that a graph cannot show: how often it doubles."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.first(x)
        n, _, h, w = y.shape
        return self.last(y.view(n, self.width, h, w) * len(bytes(self.width)))


def test_numbers_that_the_graph_does_not_show_are_told_before_branches_are_made(randomise):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    branched = add_branches(randomise(Counts()), x, keep=0.5, init="selection")
    with pytest.raises(NetworkError, match="computes something else than its branches: the code uses width"):
        fold(branched)
    assert branched.unmade is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_are_tried_in_a_precision_that_tells(functional, dtype):
    def attend(net, x):
        n, length, _ = x.shape
        q, k, v = (f(x).view(n, length, 2, net.each).transpose(1, 2) for f in (net.q, net.k, net.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return net.out(y.transpose(1, 2).flatten(2))

    layers = {name: nn.Linear(6, 8) for name in "qkv"}
    net = functional(attend, out=nn.Linear(8, 3), **layers)
    net.each = 4
    x = torch.randn(2, 5, 6)
    branched = add_branches(net.to(dtype), x.to(dtype), keep=0.5, init="selection")
    assert branched.plan.attributes
    small = fold(branched)
    assert small.each == 2
    assert small.q.weight.dtype is dtype
    assert small(x.to(dtype)).shape == (2, 5, 3)
