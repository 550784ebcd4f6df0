"""Whole networks, folded at α = 0."""

import copy
from itertools import pairwise

import pytest
import torch
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


@pytest.fixture
def at_zero(randomise_branches):
    """A network with random branches, at α = 0, and its fold."""

    def make(network, inputs, keep=0.5):
        branched = randomise_branches(add_branches(network, inputs, keep=keep, init="kaiming"))
        branched.set_alpha(0)
        return branched, fold(branched)

    return make


@pytest.mark.parametrize("training", [False, True])
def test_the_fold_is_the_branched_network_at_alpha_zero(example, at_zero, training):
    branched, small = at_zero(example.network, example.inputs)
    assert not torch.allclose(small(example.inputs), example.network(example.inputs), rtol=1e-2)
    branched.train(training)
    small.train(training)
    for _ in range(2):
        assert_equal(small(example.inputs), branched(example.inputs))
    # In training the running statistics move alike.
    assert_equal(small.eval()(example.inputs), branched.eval()(example.inputs))


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9])
def test_every_width_folds(example, at_zero, keep):
    branched, small = at_zero(example.network, example.inputs, keep)
    assert_equal(small(example.inputs), branched(example.inputs))
    found = {group.name: group.width for group in channel_groups(small, example.inputs)}
    for group in channel_groups(example.network, example.inputs):
        if group.prunable and not (keep == 0.01 and example.name in ("mobile", "conv1d")):
            # A depthwise convolution one channel wide is an ordinary convolution, and its own writer.
            assert found[group.name] == max(1, round(keep * group.width))


def test_single_groups_fold(example, at_zero):
    for group in channel_groups(example.network, example.inputs):
        if group.prunable:
            branched, small = at_zero(example.network, example.inputs, {group.name: 0.6})
            assert list(branched.alpha) == [group.name]
            assert_equal(small(example.inputs), branched(example.inputs))


def test_one_group_folds_while_another_is_still_fading(example, at_zero):
    """α of the others does not matter: the fold is the network at α = 0 for all."""
    branched, _ = at_zero(example.network, example.inputs)
    at_zero_output = branched(example.inputs)
    branched.set_alpha(0.7)
    state = copy.deepcopy(branched.state_dict())
    assert_equal(fold(branched)(example.inputs), at_zero_output)
    assert set(branched.alpha.values()) == {0.7}
    assert all(torch.equal(value, state[name]) for name, value in branched.state_dict().items())


def test_the_folded_network_is_the_users_own(example, at_zero):
    network = example.network
    _, small = at_zero(network, example.inputs)
    assert type(small) is type(network)
    assert list(small.state_dict()) == list(network.state_dict())
    assert [name for name, _ in small.named_modules()] == [name for name, _ in network.named_modules()]
    for (name, mine), theirs in zip(small.named_modules(), network.modules(), strict=True):
        assert type(mine) is type(theirs), name
        assert getattr(mine, "inplace", None) == getattr(theirs, "inplace", None), name
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())


def test_attributes_agree_with_the_weights(example, at_zero):
    _, small = at_zero(example.network, example.inputs)
    for name, module in small.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            expected = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            assert tuple(module.weight.shape) == expected, name
            assert module.bias is None or module.bias.shape == (module.out_channels,), name
            before = example.network.get_submodule(name)
            assert (module.groups == 1) is (before.groups == 1)
            assert module.groups in (1, module.in_channels)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            shapes = {tensor.shape for tensor in (module.weight, module.bias, module.running_mean, module.running_var)}
            assert shapes == {(module.num_features,)}, name
        elif isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features), name
        elif isinstance(module, nn.PReLU):
            assert module.weight.shape == (module.num_parameters,), name
        assert all(tensor.is_contiguous() for tensor in module.state_dict().values())


def test_the_attributes_that_repr_shows_are_new(make_example, at_zero):
    _, network, inputs = make_example("mobile")
    _, small = at_zero(network, inputs, {"expand": 4, "down": 2})
    text = repr(small)
    assert "(expand): Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1), bias=False)" in text
    assert "(expand_bn): BatchNorm2d(4, " in text
    assert "(depthwise): Conv2d(4, 4, kernel_size=(3, 5), stride=(2, 1), padding=(1, 2), groups=4)" in text
    assert "(down): Conv2d(4, 2, " in text
    assert "(project): Conv2d(4, 6, " in text


def test_the_folded_network_trains(example, at_zero):
    _, small = at_zero(example.network, example.inputs)
    small.train()
    before = copy.deepcopy(small.state_dict())
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01)
    small(example.inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape and p.is_leaf for p in small.parameters())
    optimizer.step()
    assert any(not torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_the_fold_shares_nothing_with_the_branched_network(example, at_zero):
    branched, small = at_zero(example.network, example.inputs)
    before = branched(example.inputs)
    with torch.no_grad():
        for tensor in small.state_dict().values():
            tensor.add_(1)
    assert torch.equal(branched(example.inputs), before)


PADDINGS = [
    {"padding": "same"},
    {"padding": "same", "dilation": (2, 1)},
    {"padding": "valid", "stride": 2},
    {"padding": 2, "stride": (1, 3)},
    {"padding": (0, 2), "dilation": (1, 2)},
    {"padding": (2, 1), "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "replicate", "stride": 2},
    {"padding": (1, 2), "padding_mode": "circular"},
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", PADDINGS)
def test_strides_paddings_and_dilations_fold_on_both_sides(at_zero, randomise, options, bias):
    network = randomise(
        nn.Sequential(
            nn.Conv2d(2, 7, (3, 5), bias=bias, **options),
            nn.PReLU(7),
            nn.Conv2d(7, 7, (2, 3), groups=7, bias=bias, padding=(1, 0)),
            nn.Softplus(),
            nn.Conv2d(7, 5, (5, 3), bias=bias, **options),
            nn.ELU(inplace=True),
            nn.Conv2d(5, 3, 1),
        )
    )
    x = normal(2, 2, 14, 19)
    branched, small = at_zero(network, x)
    assert list(branched.alpha) == ["0", "4"]
    assert small(x).shape == network(x).shape
    assert_equal(small(x), branched(x))


def test_in_place_flags_come_back_where_they_were(functional, at_zero, randomise):
    network = functional(
        lambda net, x: net.last(net.relu(net.norm(net.first(x))) + net.keep(net.skip(x))),
        first=nn.Conv2d(3, 6, 3),
        norm=nn.BatchNorm2d(6),
        relu=nn.ReLU(inplace=True),
        skip=nn.Conv2d(3, 6, 3),
        keep=nn.ReLU6(),
        last=nn.Conv2d(6, 2, 1),
    )
    x = normal(2, 3, 6, 7)
    branched, small = at_zero(randomise(network), x)
    assert not branched.network.relu.inplace
    assert small.relu.inplace
    assert not small.keep.inplace
    assert_equal(small(x), branched(x))


def test_a_batch_norm_without_parameters_or_statistics_folds(functional, at_zero, randomise):
    for options in ({"affine": False}, {"track_running_stats": False}, {"affine": False, "track_running_stats": False}):
        network = randomise(
            nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, **options), nn.ReLU(), nn.Conv2d(6, 2, 3))
        )
        x = normal(4, 3, 7, 9)
        branched, small = at_zero(network, x)
        assert_equal(small(x), branched(x))
        assert small[1].num_features == 3
        fitted = add_branches(network, x, keep=0.5)
        fitted.set_alpha(0)
        assert_equal(fold(fitted)(x), fitted(x))


def test_the_same_tensor_concatenated_twice_folds(functional, at_zero, randomise):
    network = functional(
        lambda net, x: net.last(torch.cat([y := torch.relu(net.first(x)), net.other(x), y], 1)),
        first=nn.Conv2d(3, 6, 3),
        other=nn.Conv2d(3, 4, 3),
        last=nn.Conv2d(16, 2, 3),
    )
    x = normal(2, 3, 6, 7)
    for keep in (0.5, {"first": 0.5}, {"other": 0.5}):
        branched, small = at_zero(randomise(network), x, keep)
        assert_equal(small(x), branched(x))


def test_a_fold_shares_no_memory_with_the_branches(randomise):
    network = randomise(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 2, 1))
    )
    branched = add_branches(network, normal(2, 3, 7, 9), keep={"0": 0.5, "3": 0.5}, init="kaiming")
    for groups in (None, ["0"], ["3"]):
        small = fold(branched, groups)
        theirs = {tensor.data_ptr() for tensor in (*branched.parameters(), *branched.buffers())}
        assert not any(tensor.data_ptr() in theirs for tensor in (*small.parameters(), *small.buffers()))


def test_both_orders_of_compress_and_expand_are_exact(randomise, at_zero):
    """More channels before a layer than after it, and the reverse: P first, and E first."""
    inputs = normal(2, 3, 7, 9)
    widths = (3, 20, 4, 16, 2)
    network = randomise(nn.Sequential(*(nn.Conv2d(a, b, (3, 1), padding=1) for a, b in pairwise(widths))))
    branched, small = at_zero(network, inputs)
    assert_equal(small(inputs), branched(inputs))
