"""Least squares where the branches normalise over their own channels: residual streams of tokens."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import add_branches, fold


class Stream(nn.Module):
    """A stream with a norm before each reader, whose channels are mixtures of a few directions."""

    def __init__(self, norm):
        super().__init__()
        self.embed, self.pos = nn.Linear(6, 24), nn.Parameter(torch.randn(1, 5, 24))
        self.norms = nn.ModuleList(norm(24) for _ in range(3))
        self.fc1, self.fc2 = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            self.fc1.append(nn.Linear(24, 20))
            self.fc2.append(nn.Linear(20, 24))
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        x = self.embed(x) + self.pos
        for norm, fc1, fc2 in zip(self.norms, self.fc1, self.fc2, strict=False):
            x = x + fc2(F.gelu(fc1(norm(x))))
        return self.head(self.norms[-1](x).mean(1))


def drawn(randomise, norm):
    network = randomise(Stream(norm))
    with torch.no_grad():
        for module in network.norms:  # scales and shifts of their own, as training leaves them
            module.weight.copy_(1 + 0.3 * normal(24, seed=3))
        network.pos.mul_(0.5)
    return network


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_least_squares_leaves_less_error_than_a_selection(randomise, norm):
    network, data, x = drawn(randomise, norm), normal(400, 5, 6), normal(300, 5, 6, seed=1)
    wanted = network(x)

    def error(**options):
        small = fold(add_branches(network, data[:2], keep=0.5, data=data, **options))
        return float((small(x) - wanted).square().mean() / wanted.var(0).mean())

    with torch.no_grad():
        fitted, selected = error(), error(init="selection")
        assert fitted < 0.5 * selected
        assert fitted < error(init="selection", channels="greedy")


def test_a_shift_takes_what_e_leaves_of_the_mean(randomise):
    """Constants that every norm adds to its channels change no E."""
    fits = []
    for constant in (0.0, 3.0):
        network = drawn(randomise, nn.LayerNorm)
        with torch.no_grad():
            for module in network.norms:
                module.bias.copy_(constant * normal(24, seed=5))
            network.fc1[0].bias -= network.fc1[0].weight @ network.norms[0].bias
            network.fc1[1].bias -= network.fc1[1].weight @ network.norms[1].bias
            network.head.bias -= network.head.weight @ network.norms[2].bias
        data = normal(200, 5, 6)
        branched = add_branches(network, data[:2], keep=0.5, data=data)
        branched.set_alpha(0)
        fits.append((branched, branched(data)))
    (plain, result), (shifted, other) = fits
    for name, blend in plain.blend.items():
        torch.testing.assert_close(blend.expand["0"], shifted.blend[name].expand["0"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(result, other, rtol=1e-6, atol=1e-8)
