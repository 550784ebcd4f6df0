import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import channel_groups
from branchfold.models.activations import group_grams, input_batches, sensitivity
from branchfold.models.groups import Analysis


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(*tensors):
    """One row for each channel: (N, C, *) tensors side by side, each of energy 1."""
    return torch.cat([x.movedim(1, 0).flatten(1) / x.norm() for x in tensors], 1)


def greedy_errors(A):
    """By brute force: the channel that leaves least of A's energy unexplained, by torch's least squares, again."""
    chosen, errors = [], [1.0]
    for _ in range(len(A)):
        left = {}
        for j in sorted(set(range(len(A))) - set(chosen)):
            Z = A[[*chosen, j]].T
            left[j] = float((A.T - Z @ torch.linalg.lstsq(Z, A.T).solution).square().sum() / A.square().sum())
        chosen.append(min(left, key=left.get))
        errors.append(left[chosen[-1]])
    return torch.tensor(errors, dtype=torch.float64)


def assert_curves(curves, activations):
    assert curves.keys() == activations.keys()
    for name, A in activations.items():
        torch.testing.assert_close(curves[name], greedy_errors(A), rtol=1e-6, atol=1e-9)


def test_every_curve_falls_from_one_to_zero(example):
    curves = sensitivity(example.network, example.inputs)
    groups = [group for group in channel_groups(example.network, example.inputs) if group.prunable]
    assert list(curves) == [group.name for group in groups]
    for group in groups:
        curve = curves[group.name]
        assert curve.shape == (group.width + 1,)
        assert curve[0] == 1
        assert curve[-1].abs() < 1e-9
        assert (curve.diff() <= 1e-12).all()
        assert (curve >= 0).all()


def test_the_curves_of_a_chain_are_those_of_least_squares(make_example):
    _, net, _ = make_example("chain")
    x = normal(12, 3, 13, 18, seed=2)
    with torch.no_grad():
        first = net.features[:4](x)
        second = net.features[4:7](first)
        third = net.features[7:](second)
        fourth = net.head[:3](third.flatten(1))
    activations = {
        "features.0": rows(first),
        "features.4": rows(second),
        "features.7": rows(third),
        "head.0": rows(fourth),
    }
    assert_curves(sensitivity(net, x[:2], x), activations)
    assert_curves(sensitivity(net, x[:2], list(x.split([5, 6, 1]))), activations)
    # Labels ride along; single precision is converted.
    assert_curves(sensitivity(net, x[:2], [(x[:7], torch.arange(7)), (x[7:], torch.arange(5))]), activations)


def test_a_group_that_is_read_in_several_places_is_judged_on_all(make_example):
    _, net, _ = make_example("fire")
    x = normal(9, 3, 9, 13, seed=2)
    with torch.no_grad():
        squeezed = F.relu(net.squeeze(x))
        narrow, wide = F.relu(net.expand1(squeezed)), F.elu(net.expand3(squeezed))
        conv = F.relu(net.conv(torch.cat([narrow, wide], 1)))
        normed = net.norm(torch.cat([conv.flatten(1), narrow.mean((2, 3))], 1))
    activations = {
        "squeeze": rows(squeezed),
        # A segment of a concat, and one behind the BatchNorm over features.
        "expand1": rows(narrow, normed[:, 144:]),
        "expand3": rows(wide),
        # Each channel has 24 positions behind the flatten.
        "conv": rows(normed[:, :144].reshape(9, 6, 24)),
    }
    curves = sensitivity(net, x[:3], x)
    assert {group.readers for group in channel_groups(net, x) if group.name == "squeeze"} == {("expand1", "expand3")}
    assert_curves(curves, activations)


def test_redundant_channels_show(randomise):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Tanh())
    randomise(net.append(nn.Conv2d(6, 2, 1)))
    with torch.no_grad():
        # Three different channels are left.
        for tensor in (net[0].weight, net[0].bias, net[1].weight, net[1].bias, net[1].running_mean, net[1].running_var):
            tensor[3:6], tensor[6:] = tensor[:3].clone(), tensor[:2].clone()
    curves = sensitivity(net, normal(2, 3, 7, 8), normal(20, 3, 7, 8))
    assert curves["0"][2] > 1e-3
    assert (curves["0"][3:] < 1e-9).all()
    assert curves["3"][4] > 1e-6


def test_silent_groups_need_no_channels(randomise):
    net = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.fill_(-1)
    assert sensitivity(net, normal(2, 3, 7, 8))["0"].tolist() == [1, 0, 0, 0, 0]


def test_the_network_and_the_data_are_not_changed(make_example):
    for name in ("residual", "dense", "mobile"):
        _, net, inputs = make_example(name)
        net.train()
        state, given = copy.deepcopy(net.state_dict()), inputs.clone()
        modes = [module.training for module in net.modules()]
        flags = [getattr(module, "inplace", None) for module in net.modules()]
        curves = sensitivity(net, inputs)
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
        assert modes == [module.training for module in net.modules()]
        assert flags == [getattr(module, "inplace", None) for module in net.modules()]
        assert torch.equal(inputs, given)
        # Judged as in evaluation, whatever its mode.
        for key, curve in sensitivity(net.eval(), inputs).items():
            assert torch.equal(curve, curves[key])


def test_grams_are_symmetric_of_energy_one_and_of_the_groups_asked_for(make_example):
    _, net, inputs = make_example("residual")
    analysis = Analysis.of(net, inputs)
    grams = group_grams(analysis, ["stem", "b1"], input_batches(analysis, inputs))
    assert set(grams) == {"stem", "b1"}
    with torch.no_grad():
        block = net.relu(net.stem_bn(net.stem(inputs)))
        after = net.relu(block + net.a2_bn(net.a2(net.relu(net.a1_bn(net.a1(block))))))
    A = rows(block, after)
    torch.testing.assert_close(grams["stem"], A @ A.T, rtol=1e-9, atol=1e-12)
    A = rows(torch.tanh(net.b1(after)).detach())
    torch.testing.assert_close(grams["b1"], A @ A.T, rtol=1e-9, atol=1e-12)


def test_half_precision_is_summed_up_in_more(make_example):
    _, net, inputs = make_example("residual")
    exact = sensitivity(net, inputs)
    rough = sensitivity(net.to(torch.bfloat16), inputs.to(torch.bfloat16))
    for name, curve in exact.items():
        torch.testing.assert_close(rough[name], curve, rtol=0, atol=0.05)


def test_what_cannot_be_judged_is_told(make_example):
    _, net, inputs = make_example("linear")
    with pytest.raises(NetworkError, match="no data"):
        sensitivity(net, inputs, [])
    with pytest.raises(NetworkError, match="not finite"):
        sensitivity(net, inputs, inputs / 0)
