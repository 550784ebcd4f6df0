"""Classes and functions of users that are treated as torch's."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold, treat_as

X = normal(4, 3, 7, 9)


class Scaled(nn.Module):
    """A BatchNorm whose tensors have other names, written so that it cannot be followed."""

    def __init__(self, channels, factor=1.0):
        super().__init__()
        self.channels, self.factor, self.eps, self.momentum = channels, factor, 1e-5, 0.1
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x):
        assert float(self.gamma.detach().abs().sum()) >= 0  # decides by values
        y = x.view(len(x), self.channels, *x.shape[2:])
        y = F.batch_norm(y, self.mean, self.var, self.gamma, self.beta, self.training, self.momentum, self.eps)
        return y * self.factor


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad):
        return grad


def unreadable(x, slope=0.01):
    return x if bool((x > 0).all()) else torch.where(x > 0, x, x * slope)


class Net(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), Scaled(8, factor)
        self.second, self.last = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = Double.apply(self.norm(self.first(x)))
        return self.last(unreadable(self.second(x), 0.2))


@pytest.fixture
def treated():
    names = {
        "gamma": "weight",
        "beta": "bias",
        "mean": "running_mean",
        "var": "running_var",
        "channels": "num_features",
    }
    pairs = {Scaled: (nn.BatchNorm2d, names), Double: (torch.relu, None), unreadable: (F.leaky_relu, None)}
    for mine, (theirs, called) in pairs.items():
        treat_as(mine, theirs, names=called)
    yield pairs
    for mine in pairs:
        treat_as(mine, None)


def statistics(network):
    network.norm.mean.normal_(0.1, 0.5)
    network.norm.var.uniform_(0.3, 2)
    return network.double().eval()


def test_they_are_narrowed_and_stay_of_their_class(treated, randomise, randomise_branches):
    torch.manual_seed(0)
    network = statistics(randomise(Net()))
    assert [group.prunable for group in channel_groups(network, X)] == [True, True, False]
    branched = randomise_branches(add_branches(network, X, keep=0.5, init="kaiming"))
    assert_equal(branched(X), network(X))
    branched.set_alpha(0)
    small = fold(branched)
    assert type(small.norm) is Scaled
    assert (small.norm.channels, small.norm.gamma.shape, small.norm.factor) == (4, (4,), 1.0)
    assert [name for name, _ in small.named_parameters()] == [name for name, _ in network.named_parameters()]
    for training in (False, True, False):
        assert_equal(small.train(training)(X), branched.train(training)(X))
    assert_equal(fold(fold(branched, groups=["first"]))(X), small(X))
    assert type(network.norm) is Scaled


def test_what_computes_something_else_is_refused_with_the_difference(treated):
    network = statistics(Net(factor=1.5))
    with pytest.raises(NetworkError, match=r"treat_as\(Scaled, BatchNorm2d\): norm does not hold: .* differ by \d"):
        channel_groups(network, X)
    treat_as(Double, torch.tanh)  # put back by the fixture
    with pytest.raises(NetworkError, match=r"treat_as\(Double, tanh\) does not hold"):
        channel_groups(statistics(Net()), X)


def test_names_that_are_missing_are_told(treated):
    treat_as(Scaled, nn.BatchNorm2d, names={"gamma": "weight"})
    with pytest.raises(NetworkError, match=r"norm holds 'beta', which BatchNorm2d has not; tell it in names"):
        channel_groups(statistics(Net()), X)


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        (3, F.relu, "a class of modules or a function, but got 3"),
        (Scaled, F.relu, "two classes of modules or two functions"),
        (unreadable, nn.ReLU, "two classes of modules or two functions"),
        (Scaled, Net, "one of torch's as the second"),
        (unreadable, statistics, "one of torch's as the second"),
    ],
)
def test_mistakes_are_told_in_one_line(mine, theirs, message):
    with pytest.raises(NetworkError, match=message) as caught:
        treat_as(mine, theirs)
    assert "\n" not in str(caught.value)


def test_functions_of_autograd_that_are_not_known_fix_their_channels(functional):
    layers = {"first": nn.Conv2d(3, 8, 1), "second": nn.Conv2d(8, 6, 1), "last": nn.Conv2d(6, 2, 1)}
    network = functional(lambda net, x: net.last(net.second(Double.apply(net.first(x)))), **layers).double()
    first, second, _ = channel_groups(network, X)
    assert first.reason.startswith("Double is not known to treat each channel on its own at ")
    assert second.prunable
    branched = add_branches(network, X, keep=0.5)
    assert_equal(branched(X), network(X))
    branched.set_alpha(0)
    assert_equal(fold(branched)(X), branched(X))
