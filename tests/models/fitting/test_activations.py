import copy
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import Tensor, nn

from branchfold.errors import NetworkError
from branchfold.models import channel_groups
from branchfold.models.channels.groups import Analysis
from branchfold.models.fitting.activations import input_batches, sensitivity
from branchfold.models.fitting.original import Original


class Read(NamedTuple):
    """A tensor (N, C, *) that is read: by which weights (out, C, places), and whether about its mean."""

    tensor: Tensor
    weights: list[Tensor]
    centred: bool


def rows(read):
    """One row for each channel, of energy 1 in all."""
    A = read.tensor.movedim(1, 0).flatten(1)
    A = A - A.mean(1, keepdim=True) if read.centred else A
    return A / A.norm()


def hearing(read):
    """What readers hear of a tensor's channels, one row an output and place: each output's energy is 1/outputs."""
    A, heard = rows(read), []
    for weight in read.weights:
        weight = weight.detach().flatten(2) if weight.dim() > 2 else weight.detach()[..., None]
        energy = torch.einsum("ocp,cn->opn", weight, A).square().sum((1, 2))
        heard.append((weight / (len(weight) * energy).sqrt()[:, None, None]).transpose(1, 2).flatten(0, 1))
    return torch.cat(heard)


def brute_force(reads):
    """Activations side by side, and what is heard of them."""
    return torch.cat([rows(read) for read in reads], 1), torch.cat([hearing(read) for read in reads])


def greedy_errors(A, W):
    """By brute force: the channel that leaves least of ‖W A‖² unexplained, by torch's least squares, again."""
    chosen, errors = [], [1.0]
    for _ in range(len(A)):
        left = {}
        for j in sorted(set(range(len(A))) - set(chosen)):
            Z = A[[*chosen, j]].T
            residual = A.T - Z @ torch.linalg.lstsq(Z, A.T).solution
            left[j] = float((W @ residual.T).square().sum() / (W @ A).square().sum())
        chosen.append(min(left, key=left.get))
        errors.append(left[chosen[-1]])
    return torch.tensor(errors, dtype=torch.float64)


def assert_curves(curves, reads):
    assert curves.keys() == reads.keys()
    for name, of_group in reads.items():
        torch.testing.assert_close(curves[name], greedy_errors(*brute_force(of_group)), rtol=1e-6, atol=1e-9)


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
    reads = {
        "features.0": [Read(first, [net.features[4].weight], True)],  # a BatchNorm behind it
        "features.4": [Read(second, [net.features[7].weight], False)],
        "features.7": [Read(third, [net.head[0].weight.view(7, 6, 10)], True)],
        "head.0": [Read(fourth, [net.head[3].weight], True)],  # no zeros are padded, and a bias takes what is constant
    }
    assert_curves(sensitivity(net, x[:2], x), reads)
    assert_curves(sensitivity(net, x[:2], list(x.split([5, 6, 1]))), reads)
    # Labels ride along; single precision is converted.
    assert_curves(sensitivity(net, x[:2], [(x[:7], torch.arange(7)), (x[7:], torch.arange(5))]), reads)


def test_a_group_that_is_read_in_several_places_is_judged_on_all(make_example):
    _, net, _ = make_example("fire")
    x = normal(9, 3, 9, 13, seed=2)
    with torch.no_grad():
        squeezed = F.relu(net.squeeze(x))
        narrow, wide = F.relu(net.expand1(squeezed)), F.elu(net.expand3(squeezed))
        conv = F.relu(net.conv(torch.cat([narrow, wide], 1)))
        normed = net.norm(torch.cat([conv.flatten(1), narrow.mean((2, 3))], 1))
    reads = {
        "squeeze": [Read(squeezed, [net.expand1.weight, net.expand3.weight], False)],
        # A segment of a concat, and one behind the BatchNorm over features that the last layer reads.
        "expand1": [
            Read(narrow, [net.conv.weight[:, :5]], True),
            Read(normed[:, 144:], [net.fc.weight[:, 144:]], True),
        ],
        "expand3": [Read(wide, [net.conv.weight[:, 5:]], True)],
        # Each channel has 24 positions behind the flatten.
        "conv": [Read(normed[:, :144].reshape(9, 6, 24), [net.fc.weight[:, :144].view(4, 6, 24)], True)],
    }
    curves = sensitivity(net, x[:3], x)
    assert {group.readers for group in channel_groups(net, x) if group.name == "squeeze"} == {("expand1", "expand3")}
    assert_curves(curves, reads)


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


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_activity_is_of_the_groups_asked_for_and_about_the_mean_where_their_branches_restore_it(
    make_example, everywhere
):
    _, net, inputs = make_example("residual")
    analysis = Analysis.of(net, inputs)
    names = [group.name for group in analysis.groups if group.prunable] if everywhere else ["stem", "b1"]
    activity = Original(analysis, names, input_batches(analysis, inputs)).activity(names)
    assert set(activity) == set(names)
    with torch.no_grad():
        block = net.relu(net.stem_bn(net.stem(inputs)))
        after = net.relu(block + net.a2_bn(net.a2(net.relu(net.a1_bn(net.a1(block))))))
        inner = torch.tanh(net.b1(after))
    # Without a1's and b2's branches nothing restores the mean of what they read; behind b1 there is no BatchNorm.
    reads = {
        "stem": [
            Read(block, [net.a1.weight], everywhere),
            Read(after, [net.b1.weight, net.shortcut.weight, net.late.weight], False),
        ],
        "b1": [Read(inner, [net.b2.weight], everywhere)],
    }
    for name, of_group in reads.items():
        A, W = brute_force(of_group)
        torch.testing.assert_close(activity[name].gram, A @ A.T, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(activity[name].metric, W.T @ W, rtol=1e-9, atol=1e-9)


def test_constants_are_no_error_where_the_mean_is_restored(randomise):
    shifts = 10 * normal(8, seed=4)
    layers = nn.Linear(6, 8), nn.Identity(), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)
    plain = randomise(nn.Sequential(*layers))
    shifted = copy.deepcopy(plain)
    with torch.no_grad():
        shifted[0].bias += shifts
        shifted[2].bias -= shifted[2].weight @ shifts
    x = normal(40, 6)
    torch.testing.assert_close(shifted(x), plain(x))
    curves, expected = sensitivity(shifted, x), sensitivity(plain, x)
    torch.testing.assert_close(curves, expected, rtol=1e-8, atol=1e-10)
    with torch.no_grad():
        A = plain[0](x).T
    assert not torch.allclose(expected["0"], greedy_errors(A, hearing(Read(A.T, [plain[2].weight], False))), rtol=1e-3)


def test_large_means_leave_the_curves_of_single_precision_as_they_are(randomise):
    layers = nn.Linear(6, 12), nn.Identity(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)
    net = randomise(nn.Sequential(*layers))
    with torch.no_grad():
        net[0].weight[4:8] = 0
        net[0].bias += 100
    x = normal(200, 6)
    exact = sensitivity(net, x, list(x.split(50)))["0"]
    rough = sensitivity(net.float(), x.float(), list(x.float().split(50)))["0"]
    torch.testing.assert_close(rough, exact, rtol=0, atol=1e-3)


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
