"""What is known of each kind of layer, and which subclasses are of their parent's kind."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torchvision.ops import FrozenBatchNorm2d

from branchfold.models import add_branches, fold
from branchfold.models.layers.kinds import (
    BATCH_NORM,
    CONVOLUTION,
    KINDS,
    LINEAR,
    behaves_as,
    by_output,
    channel_tensors,
    declare_width,
    has_channel_parameters,
    is_known_whole,
    kernel_size,
    kind_of,
    passes_constants,
)

X = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class SubConv(nn.Conv2d):
    def __init__(self, width):
        super().__init__(3, width, 3, bias=False)

    def reset_parameters(self):
        nn.init.constant_(self.weight, 0.1)

    def fan(self):
        return self.weight[0].numel()


class SubNorm(nn.BatchNorm2d):
    pass


class SubSubNorm(SubNorm):
    pass


class SubLinear(nn.Linear):
    pass


class SubPool(nn.MaxPool2d):
    pass


class SubReLU(nn.ReLU):
    pass


class SubInstanceNorm(nn.InstanceNorm2d):
    pass


class SubFrozen(FrozenBatchNorm2d):
    pass


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class InsideForward(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.sign(), bias)


LAYERS = {
    "conv": (nn.Conv2d(3, 5, (3, 2)), (5, 3, 3, 2), 6),
    "transposed": (nn.ConvTranspose2d(3, 5, (3, 2)), (5, 3, 3, 2), 6),
    "conv1d": (nn.Conv1d(3, 5, 4), (5, 3, 4), 4),
    "linear": (nn.Linear(3, 5), (5, 3), 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_by_output(name):
    layer, shape, size = LAYERS[name]
    weight = by_output(layer, layer.weight)
    assert weight.shape == shape
    assert kernel_size(layer) == size
    assert by_output(layer, weight).shape == layer.weight.shape
    with torch.no_grad():
        weight[2] = 0  # through the view: output channel 2 alone falls silent
        if layer.bias is not None:
            layer.bias.zero_()
    x = torch.randn(2, 6, 3) if name == "linear" else torch.randn(2, 3, *(6,) * (layer.weight.dim() - 2))
    y = layer(x).movedim(-1 if name == "linear" else 1, 0)
    assert y[2].abs().max() == 0
    assert all(y[i].abs().max() > 0 for i in (0, 1, 3, 4))


def test_weights_by_output_in_groups():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    weight = by_output(layer, layer.weight)
    assert weight.shape == (6, 2, 3, 3)
    assert torch.equal(by_output(layer, weight), layer.weight)
    for o in range(6):  # reads the two channels of its group
        assert torch.equal(weight[o], layer.weight[2 * (o // 3) : 2 * (o // 3) + 2, o % 3])


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("build", [nn.Conv2d, nn.ConvTranspose2d, nn.Linear])
def test_sizes_are_those_that_torch_gives(build, groups):
    layer = nn.Linear(6, 12) if build is nn.Linear else build(6, 12, 3, groups=groups)
    wanted = {name: getattr(layer, name) for name in kind_of(layer).sizes}
    assert len(wanted) == 2
    for name in wanted:
        setattr(layer, name, 0)
    declare_width(layer)
    assert {name: getattr(layer, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.BatchNorm2d(5), {"weight", "bias", "running_mean", "running_var"}),
        (nn.SyncBatchNorm(5, affine=False), {"running_mean", "running_var"}),
        (nn.InstanceNorm1d(5, affine=True), {"weight", "bias"}),
        (FrozenBatchNorm2d(5), {"weight", "bias", "running_mean", "running_var"}),
        (nn.Conv2d(5, 5, 3, groups=5, bias=False), {"weight"}),
        (nn.PReLU(5), {"weight"}),
        (nn.LayerNorm(5), {"weight", "bias"}),
        (nn.LayerNorm([5, 3, 4], bias=False), {"weight"}),
        (nn.RMSNorm(5), {"weight"}),
    ],
)
def test_channelwise_layers_hold_something_for_each_channel(layer, names):
    assert has_channel_parameters(layer)
    assert channel_tensors(layer).keys() == names
    assert all(len(tensor) == 5 for tensor in channel_tensors(layer).values())


def test_no_class_is_of_two_kinds():
    classes = [cls for kind in KINDS for cls in kind.classes]
    assert len(set(classes)) == len(classes)
    assert not has_channel_parameters(nn.PReLU())
    assert not has_channel_parameters(nn.ReLU())
    assert kind_of(nn.LocalResponseNorm(3)) is None


@pytest.mark.parametrize(
    ("layer", "parent"),
    [
        (SubConv(4), nn.Conv2d),
        (SubNorm(4), nn.BatchNorm2d),
        (SubSubNorm(4), nn.BatchNorm2d),
        (SubPool(2), nn.MaxPool2d),
        (SubFrozen(4), FrozenBatchNorm2d),
        (nn.BatchNorm2d(4), nn.BatchNorm2d),
        (Standardised(3, 4, 1), Standardised),
        (InsideForward(3, 4, 1), InsideForward),
    ],
)
def test_a_subclass_that_keeps_the_forward_behaves_as_its_parent(layer, parent):
    assert behaves_as(layer) is parent
    assert is_known_whole(layer) is (type(layer).__module__ == __name__ and parent is not type(layer))


def test_a_forward_put_on_one_layer_is_not_its_classes():
    layer = nn.BatchNorm2d(4)
    assert kind_of(layer) is BATCH_NORM
    layer.forward = lambda x: x
    assert kind_of(layer) is None
    assert not is_known_whole(layer)


def test_a_parametrized_layer_is_of_its_kind_and_a_container_of_none():
    layer = parametrize.register_parametrization(nn.Linear(3, 4), "weight", nn.Tanh())
    assert kind_of(layer) is LINEAR
    assert kind_of(SubConv(2)) is CONVOLUTION

    class Chain(nn.Sequential):
        pass

    assert not is_known_whole(Chain(nn.ReLU()))


def subclassed():
    return nn.Sequential(
        SubConv(8), SubNorm(8), SubReLU(), SubPool(2), SubConv.__base__(8, 6, 2), SubInstanceNorm(6, affine=True),
        nn.SyncBatchNorm(6), nn.Flatten(), SubLinear(6 * 2 * 1, 5), nn.Tanh(), nn.Linear(5, 2),
    )  # fmt: skip


def test_subclasses_are_narrowed(assert_folds):
    network = subclassed()
    assert assert_folds(network, X) == {"0", "4", "8"}
    small = fold(add_branches(network, X, keep=0.5))
    assert [type(layer) for layer in small] == [type(layer) for layer in network]
    assert (small[0].out_channels, small[1].num_features, small[6].num_features) == (4, 4, 3)


def test_a_subclass_with_a_forward_of_its_own_is_folded_where_it_computes_a_weight_alone(assert_folds):
    network = nn.Sequential(Standardised(3, 8, 3), nn.ReLU(), InsideForward(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    assert assert_folds(network, X) == {"0", "2"}


def test_the_size_of_a_subclass_that_the_code_reads_follows(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(net.conv(x).flatten(2).mean(2).view(-1, net.conv.out_channels)),
        conv=SubConv(8),
        last=nn.Linear(8, 2),
    )
    assert assert_folds(network, X) == {"conv"}


def test_a_value_shared_by_all_channels_is_folded_group_after_group(functional, assert_folds):
    layers = {"a": nn.Conv2d(3, 6, 1), "b": nn.Conv2d(3, 8, 1), "act": nn.PReLU(), "last": nn.Conv2d(14, 2, 1)}
    network = functional(lambda net, x: net.last(net.act(torch.cat([net.a(x), net.b(x)], 1))), **layers)
    assert assert_folds(network, X) == {"a", "b"}


@pytest.mark.parametrize(
    ("layer", "passes"),
    [
        (nn.Linear(3, 2), True),
        (nn.Linear(3, 2, bias=False), False),
        (nn.Conv2d(3, 2, 3), True),
        (nn.Conv2d(3, 2, 3, padding="valid"), True),
        (nn.Conv2d(3, 2, 3, padding=(0, 1)), False),
        (nn.Conv2d(3, 2, 3, padding="same"), False),
        (nn.Conv2d(3, 2, 1, padding="same"), True),
        (nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), True),
        (nn.Conv2d(3, 2, 3, padding="same", padding_mode="reflect"), True),
        (nn.Conv2d(3, 2, 3, bias=False), False),
        (nn.ConvTranspose2d(3, 2, 3), False),
        (nn.BatchNorm2d(3), False),
    ],
)
def test_a_constant_before_a_layer_is_one_behind_it_or_not(layer, passes):
    assert passes_constants(layer) is passes
    if isinstance(layer, nn.BatchNorm2d):
        return
    layer = layer.double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    x, constant = (x.movedim(1, -1), torch.ones(3)) if isinstance(layer, nn.Linear) else (x, torch.ones(3, 1, 1))
    with torch.no_grad():
        added = layer(x + constant) - layer(x)
        dim = -1 if isinstance(layer, nn.Linear) else 1
        spread = added.movedim(dim, 0).flatten(1).std(1).max()
    if layer.bias is not None:
        assert bool(spread < 1e-12) is passes
