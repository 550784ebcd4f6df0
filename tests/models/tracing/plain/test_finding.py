"""Layers that the code writes out as functions of a module's tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import add_branches, channel_groups, fold

X = torch.randn(4, 3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class NormAct(nn.BatchNorm2d):
    """BatchNorm with its activation, forwarded by hand, as timm's BatchNormAct2d."""

    def __init__(self, channels, act):
        super().__init__(channels)
        self.act = act

    def forward(self, x):
        assert x.ndim == 4, f"expected 4D input (got {x.ndim}D input)"
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            self.momentum,
            self.eps,
        )
        return self.act(x)


class SameConv(nn.Conv2d):
    """A convolution that pads by its kernel's size, as TensorFlow does."""

    def forward(self, x):
        rows, columns = self.weight.shape[-2:]
        x = F.pad(x, (0, columns - 1, 0, rows - 1))
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


class Written(nn.Module):
    """No layers, only tensors and functions."""

    def __init__(self):
        super().__init__()
        self.first, self.shift = nn.Parameter(torch.randn(8, 3, 3, 3)), nn.Parameter(torch.randn(8))
        self.scale, self.offset = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("variance", torch.rand(8) + 0.5)
        self.up, self.last = nn.Parameter(torch.randn(8, 6, 2, 2)), nn.Parameter(torch.randn(5, 6))

    def forward(self, x):
        x = F.conv2d(x, self.first, self.shift, padding=1)
        x = F.batch_norm(x, self.mean, self.variance, self.scale, self.offset, training=self.training)
        x = F.conv_transpose2d(F.relu(x), self.up, stride=2)
        return F.linear(x.mean(dim=(2, 3)), self.last)


def stack(*, groups=1, act=None):
    act = act or nn.ReLU(inplace=True)
    return nn.Sequential(
        SameConv(3, 8, (3, 2), stride=2),
        NormAct(8, act),
        SameConv(8, 8, 3, groups=groups, bias=False),
        NormAct(8, nn.SiLU()),
        nn.Conv2d(8, 4, 1),
        nn.Flatten(2),
    )


NETWORKS = {
    "layers": (stack, {"0", "2"}),
    "depthwise": (lambda: stack(groups=8), {"0"}),
    "with an activation a channel": (lambda: stack(act=nn.PReLU(8)), {"0", "2"}),
    "without layers": (Written, {"first", "up"}),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_they_are_narrowed_like_torch_s_layers(assert_folds, kind):
    build, groups = NETWORKS[kind]
    for keep in (0.01, 0.5):
        assert assert_folds(build(), X, keep=keep) == groups


def test_the_folded_network_is_of_the_users_classes_and_the_given_one_untouched():
    network = stack(groups=8).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attributes = [list(vars(module).items()) for module in network.modules()]
    branched = add_branches(network, X, keep=0.5)
    branched.train()(X)
    small = fold(branched)
    assert [type(module) for module in small.modules()] == [type(module) for module in network.modules()]
    for mine, theirs in zip(small.modules(), network.modules(), strict=True):
        assert vars(mine).keys() == vars(theirs).keys()
    assert (small[2].groups, small[2].in_channels, small[2].padding, small[1].num_features) == (4, 4, (0, 0), 4)
    assert small[1].act.inplace
    assert small.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [list(vars(module).items()) for module in network.modules()] == attributes
    assert int(branched.network[1].num_batches_tracked) == 1


class Frozen(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class Counted(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias) / self.weight.shape[0]


class Twice(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias) + F.conv2d(x, self.weight, self.bias, dilation=1, padding=0) * 2


@pytest.mark.parametrize("layer", [Frozen(8), Counted(8, 8, 1), Counted(8, 8, 1, bias=False)])
def test_what_is_no_layer_of_torch_s_stays_as_it_is(layer, randomise):
    network = randomise(nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.ReLU(), nn.Conv2d(8, 4, 1)))
    assert not all(group.prunable for group in channel_groups(network, X)[:-1])
    branched = add_branches(network, X, keep=0.5)
    branched.set_alpha(0)
    for training in (True, False):
        torch.testing.assert_close(branched.train(training)(X), fold(branched).train(training)(X))


def test_a_layer_under_two_names_is_one(functional, assert_folds):
    shared = nn.Conv2d(3, 6, 3, padding=1)
    inner = nn.Sequential(shared, nn.BatchNorm2d(6), nn.ReLU())
    network = functional(lambda net, x: net.last(net.inner(x)), conv=shared, inner=inner, last=nn.Conv2d(6, 2, 1))
    assert assert_folds(network, X) == {"conv"}
    small = fold(add_branches(network, X, keep=0.5))
    assert small.conv is small.inner[0]
    assert small.state_dict().keys() == network.state_dict().keys()


class ComputedBias(nn.Module):
    """As attention whose keys have no bias."""

    def __init__(self, width=3):
        super().__init__()
        self.joint = nn.Linear(width, 12, bias=False)
        self.first, self.last = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(3))
        self.register_buffer("none", torch.zeros(3), persistent=False)
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        bias = torch.cat([self.first, self.none, self.last])
        return self.out(torch.tanh(F.linear(x, self.joint.weight, bias)))


def test_a_bias_that_the_code_computes_is_added_to_what_the_layer_yields(assert_folds):
    network = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), ComputedBias())
    found = assert_folds(network, torch.randn(4, 5, dtype=torch.float64), keep=0.5)
    assert found == {"0", "2.joint", "2.joint#2", "2.joint#3"}
    small = fold(add_branches(network, torch.randn(4, 5, dtype=torch.float64), keep=0.5))
    assert type(small[2].joint) is nn.Linear
    assert not small[2].none.any()
    assert "2.none" not in small.state_dict()


class OwnTensors(nn.Module):
    """The weight is a layer's; the bias, which the code computes with, is not."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(6))

    def forward(self, x):
        return torch.tanh(F.linear(x, self.weight, self.bias * 2))


def test_tensors_keep_their_order(assert_folds):
    network = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), OwnTensors(), nn.Linear(6, 2))
    assert assert_folds(network, torch.randn(4, 5, dtype=torch.float64), keep=0.5) == {"0", "2.weight"}
    small = fold(add_branches(network, torch.randn(4, 5, dtype=torch.float64), keep=0.5))
    assert list(small.state_dict()) == list(network.state_dict())
    assert small[2].__dict__.keys() == network[2].__dict__.keys()


class AddedLast(ComputedBias):
    """The same, in the order in which the branched network adds."""

    def forward(self, x):
        bias = torch.cat([self.first, self.none, self.last])
        return self.out(torch.tanh(F.linear(x, self.joint.weight) + bias))


def test_a_bias_that_the_code_computes_differs_by_the_order_of_one_sum_alone():
    """A product of 768 terms and more is summed in parts: the bias is added to the first of them, or to the whole."""
    wide = nn.Sequential(nn.Linear(5, 1000), ComputedBias(1000)).double()
    last = nn.Sequential(wide[0], AddedLast(1000)).double()
    last[1].load_state_dict(wide[1].state_dict())
    x = torch.randn(4, 5, dtype=torch.float64)
    branched = add_branches(wide, x, keep=0.5, init="kaiming")
    assert torch.equal(branched(x), last(x))
    torch.testing.assert_close(branched(x), wide(x), rtol=1e-14, atol=1e-14)
