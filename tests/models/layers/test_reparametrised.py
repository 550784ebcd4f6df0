"""Layers whose weight is computed from other tensors: weight_norm, spectral_norm, masks, parametrizations, own code."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from branchfold.models import NetworkDescription, add_branches, channel_groups, fold, load_network, save_network
from branchfold.models.cost import CostModel

X = normal(4, 3, 9, 12)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Standardised(nn.Conv2d):
    """As timm's ScaledStdConv2d."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x):
        gain = (self.gain * 0.3).view(-1)
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, weight=gain, training=True, momentum=0.0
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Low(nn.Module):
    """A linear layer with a correction of low rank, in parts of its own."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.randn(outputs))
        self.down, self.up = nn.Linear(inputs, 2, bias=False), nn.Linear(2, outputs, bias=False)

    def forward(self, x):
        return F.linear(x, self.weight + self.up.weight @ self.down.weight, self.bias)


def masked(layer):
    prune.random_unstructured(layer, "weight", 0.4)
    return prune.l1_unstructured(layer, "weight", 0.2)


def doubled(layer):
    parametrize.register_parametrization(layer, "bias", Doubled())
    return parametrize.register_parametrization(layer, "weight", Doubled())


WAYS = {
    "weight_norm": (weight_norm, "weight_norm"),
    "spectral_norm": (spectral_norm, "spectral_norm"),
    "mask": (masked, "pruning mask"),
    "weight_norm, parametrization": (parametrizations.weight_norm, "WeightNorm"),
    "spectral_norm, parametrization": (parametrizations.spectral_norm, "SpectralNorm"),
    "own": (doubled, "Doubled"),
}


def network_of(change, convolution=nn.Conv2d, linear=nn.Linear):
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older weight_norm says that it is older
        return nn.Sequential(
            change(convolution(3, 8, 3, padding=1)),
            nn.ReLU(),
            change(convolution(8, 6, 3, stride=2)),
            nn.Tanh(),
            nn.Flatten(),
            change(linear(6 * 4 * 5, 5)),
            nn.ReLU(),
            nn.Linear(5, 2),
        ).double()


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def test_such_layers_fold_to_plain_ones(way, randomise_branches):
    network = network_of(way[0]).train()
    before = copy.deepcopy(network.state_dict())
    hooks = [dict(module._forward_pre_hooks) for module in network.modules()]
    branched = add_branches(network, X, keep=0.5).eval()
    network.eval()
    assert_equal(branched(X), network(X))
    randomise_branches(branched).set_alpha(0)
    small = fold(branched)
    assert_equal(small(X), branched(X))
    assert_equal(fold(fold(branched, groups=["2"]))(X), branched(X))
    assert [type(small[i]) for i in (0, 2, 5)] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert {name for name, _ in small[0].named_parameters()} == {"weight", "bias"}
    assert not small[0]._forward_pre_hooks
    assert not small[0]._state_dict_hooks
    assert [dict(module._forward_pre_hooks) for module in network.modules()] == hooks
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_what_nothing_is_folded_into_stays_as_it_is(way):
    network = network_of(way[0]).eval()
    branched = add_branches(network, X, keep={"0": 0.5})
    assert_equal(branched(X), network(X))
    small = fold(branched)
    assert small[5].state_dict().keys() == network[5].state_dict().keys()
    assert type(small[5]) is type(network[5])
    assert_equal(small[5](X.flatten()[:120]), network[5](X.flatten()[:120]))
    assert small[2].state_dict().keys() == {"weight", "bias"}
    groups = {group.name: group for group in channel_groups(network, X)}
    assert groups["0"].computed == (f"0 ({way[1]})", f"2 ({way[1]})")
    assert groups["5"].computed == (f"5 ({way[1]})",)


def test_checkpoints_are_rebuilt_with_plain_and_with_other_layers(way, tmp_path):
    def factory():
        return network_of(way[0])

    small = fold(add_branches(factory().eval(), X, keep={"0": 0.5}))
    description = NetworkDescription("own", {}, [3, 9, 12], widths={"0": 4}, dtype="float64")
    save_network(small, tmp_path / "small.safetensors", description)
    loaded = load_network(tmp_path / "small.safetensors", factory)
    assert_equal(loaded(X), small.eval()(X))


class Head(nn.Module):
    """Standardised convolutions, one in groups of one channel."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = Standardised(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.second = Standardised(8, 8, 3, groups=8), Standardised(8, 6, 1)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        x = self.depthwise(F.relu(self.norm(self.first(x)), inplace=True))
        return self.last(F.silu(self.second(x), inplace=True).mean((2, 3)))


def test_layers_that_compute_their_weight_themselves_fold_to_plain_ones(assert_folds):
    network = Head()
    assert assert_folds(network, X) == {"first", "second"}
    small = fold(add_branches(network, X, keep={"second": 3}))
    kinds = [Standardised, nn.BatchNorm2d, Standardised, nn.Conv2d, nn.Linear]
    assert [type(layer) for layer in small.children()] == kinds
    assert_equal(small.first(X), network.first(X))
    told = {group.name: group.computed for group in channel_groups(network, X)}
    assert told["second"] == ("second (the forward of Standardised)",)


def test_a_weight_may_be_computed_from_tensors_of_parts(randomise, randomise_branches):
    network = randomise(nn.Sequential(nn.Linear(7, 9), nn.ReLU(), Low(9, 6), nn.ReLU(), nn.Linear(6, 2)))
    branched = randomise_branches(add_branches(network, normal(5, 7), keep=0.5))
    branched.set_alpha(0)
    small = fold(branched)
    assert_equal(small(normal(3, 7)), branched(normal(3, 7)))
    assert type(small[2]) is nn.Linear
    assert [name for name, _ in small.named_parameters()] == [
        f"{i}.{name}" for i in (0, 2, 4) for name in ("weight", "bias")
    ]


class Padded(Standardised):
    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Noisy(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight + torch.rand_like(self.weight) * 0, self.bias)


class Counting(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        self.scale.mul_(1.0)
        return F.conv2d(x, self.weight * self.scale, self.bias)


@pytest.mark.parametrize("kind", [Padded, Noisy, Counting])
def test_a_forward_that_does_more_keeps_its_channels(kind):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), kind(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1))
    groups = channel_groups(network.double().eval(), X)
    assert {group.name for group in groups if group.prunable} == {"3"}
    small = fold(add_branches(network, X, keep=0.5))
    assert type(small[1]) is kind


def test_costs_are_those_of_the_plain_layers():
    network = network_of(parametrizations.weight_norm).eval()
    model = CostModel(network, X)
    assert model.full.parameters == sum(p.numel() for p in network.parameters())
    widths = {"0": 4, "2": 3, "5": 2}
    small = fold(add_branches(network, X, keep=widths))
    assert model.cost(widths).parameters == sum(p.numel() for p in small.parameters())
