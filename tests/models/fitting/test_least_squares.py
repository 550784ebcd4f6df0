"""How well branches fitted to data reproduce the original, and what does not break the fit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.channels.groups import Analysis
from branchfold.models.fitting.activations import input_batches
from branchfold.models.fitting.least_squares import initialise_from_data
from branchfold.models.fitting.original import Original
from branchfold.models.layers.statistics import recompute_batch_norm


def error_at_zero(branched, network, x):
    """‖branched − original‖ / ‖original − its mean‖ at α = 0."""
    branched.set_alpha(0)
    with torch.no_grad():
        wanted = network(x)
        return float((branched(x) - wanted).norm() / (wanted - wanted.mean(0)).norm())


@pytest.fixture
def doubled(randomise):
    """Half of the channels of each layer are multiples of the others, and its BatchNorms hold the data's statistics."""
    network = randomise(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, (3, 2), stride=2),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * 2 * 3, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )
    )
    x = normal(40, 3, 9, 13)
    network[1].eps = 1e-20  # with it a copy of another size would not quite be a copy
    with torch.no_grad():
        # Where the copies stand differs, and so do their factors.
        for layer, pairs in ((0, 4), (3, 3), (7, 5)):
            factors = torch.linspace(-2, 3, pairs).double() if layer == 0 else torch.linspace(0.3, 3, pairs).double()
            weight = network[layer].weight
            weight[pairs:] = weight[:pairs] * factors.view(-1, *(1,) * (weight.dim() - 1))
            if network[layer].bias is not None:
                network[layer].bias[pairs:] = network[layer].bias[:pairs] * factors
        # Behind a BatchNorm a negative factor only turns the sign of the weight.
        network[1].weight[4:] = network[1].weight[:4] * factors.new_tensor([-0.5, -2, 0.7, 1.5])
        network[1].bias[4:] = network[1].bias[:4] * factors.new_tensor([0.5, 2, 0.7, 1.5])
    return network, x


def test_copies_of_channels_are_reproduced(doubled):
    network, x = doubled
    recompute_batch_norm(network, [x])
    branched = add_branches(network, x[:2], keep=0.5, data=x)
    assert error_at_zero(branched, network, x) < 0.02
    # What is left is the ridge's.
    analysis = Analysis.of(branched.network, x[:2])
    original = Original(analysis, branched.plan.widths, input_batches(analysis, x))
    initialise_from_data(branched, analysis, original, ridge=1e-12)
    assert error_at_zero(branched, network, x) < 1e-8
    unseen = normal(5, 3, 9, 13, seed=9)
    torch.testing.assert_close(fold(branched)(unseen), network(unseen), rtol=1e-6, atol=1e-7)


def test_the_mean_that_is_left_out_is_that_of_all_batches(make_example):
    for name in ("chain", "conv1d", "linear", "residual"):
        _, network, inputs = make_example(name)
        drift = torch.linspace(0, 1.5, 31, dtype=torch.float64).view(-1, *(1,) * (inputs.dim() - 1))
        data = normal(31, *inputs.shape[1:], seed=3) + drift
        states = [add_branches(network, inputs, keep=0.5, data=d).state_dict() for d in (data, data.split([20, 4, 7]))]
        torch.testing.assert_close(*states, rtol=1e-6, atol=1e-9)


def test_fitting_is_far_better_than_chance():
    torch.manual_seed(0)
    grid = torch.linspace(-1, 1, 16)
    # Smooth images: few independent directions.
    waves = torch.stack([torch.sin(k * grid[:, None] + m * grid[None, :]) for k in (1, 2) for m in (-1, 0, 1)])
    images = torch.einsum("ncw,whv->nchv", torch.randn(96, 3, 6), waves)
    network = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.Tanh(),
        nn.Conv2d(24, 32, 3, stride=2),
        nn.SiLU(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    recompute_batch_norm(network, [images])
    network.eval()
    errors = {
        init: error_at_zero(
            add_branches(network, images[:2], keep=0.5, init=init, data=images[:64]), network, images[64:]
        )
        for init in ("least-squares", "kaiming")
    }
    assert errors["least-squares"] < 0.25
    assert errors["kaiming"] > 1


def test_more_channels_explain_more(make_example):
    _, network, inputs = make_example("tokens")
    data = normal(200, *inputs.shape[1:], seed=6)
    errors = [error_at_zero(add_branches(network, inputs, keep=k, data=data), network, data) for k in (0.25, 0.5, 0.9)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_half_precision_is_fitted_as_well():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).append(nn.Linear(32, 10))
    images = torch.randn(100, 3, 12, 14)
    branched = add_branches(copy.deepcopy(network).bfloat16(), images[:2].bfloat16(), keep=0.75, data=images)
    branched.set_alpha(0)
    wanted = network(images)
    rounding = (copy.deepcopy(network).bfloat16()(images.bfloat16()).float() - wanted).norm()
    exact = add_branches(network, images[:2], keep=0.75, data=images)
    exact.set_alpha(0)
    fitted = (exact(images) - wanted).norm()
    assert (branched(images.bfloat16()).float() - wanted).norm() < 2 * (rounding + fitted)


def test_a_reader_whose_output_is_thrown_away_is_no_obstacle(functional, randomise):
    network = functional(
        lambda net, x: (net.unused(F.relu(net.first(x))), net.last(F.relu(net.other(x))))[1],
        first=nn.Conv2d(3, 6, 3),
        unused=nn.Conv2d(6, 5, 3),
        other=nn.Conv2d(3, 6, 3),
        last=nn.Conv2d(6, 2, 3),
    )
    x = normal(3, 3, 8, 9)
    branched = add_branches(randomise(network), x, keep=0.5)
    assert torch.equal(branched(x), network(x))
    branched.set_alpha(0)
    small = fold(branched)
    assert (small.first.out_channels, small.unused.in_channels, small.other.out_channels) == (3, 3, 3)
    torch.testing.assert_close(small(x), branched(x), rtol=1e-9, atol=1e-12)


def test_a_silent_group_does_not_break_the_fit(randomise):
    network = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-1)
    x = normal(4, 3, 8, 9)
    branched = add_branches(network, x, keep=0.6)
    branched.set_alpha(0)
    torch.testing.assert_close(branched(x), network(x), rtol=1e-3, atol=1e-4)


class DroppedPaths(nn.Module):
    """Training hears some examples' paths only, at random; by a branch in Python, as in timm."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.first, self.path = rate, nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.path(x := self.first(x))
        if self.training and self.rate:
            y = y * y.new_empty((len(y), 1, 1, 1)).bernoulli_(1 - self.rate)
        return self.last(self.norm(torch.relu(x + y)))


def test_what_training_drops_at_random_has_no_part_in_the_fit():
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    torch.manual_seed(0)
    network = DroppedPaths(0.0).double().eval()
    expected = add_branches(network, x, keep=0.5)
    network.rate = 0.9
    found = add_branches(network, x, keep=0.5)
    for branched in (expected, found):
        branched.set_alpha(0)
    torch.testing.assert_close(found(x), expected(x))
