import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.fitting.choice import CHOICES


def chosen(branched):
    """Writer → the channels that its P selects, in order."""
    found = {}
    for key, compress in branched.compress.named_children():
        P = compress.weight
        assert torch.equal(P.sort(1).values[:, -1], torch.ones(len(P)).double())
        assert int((P != 0).sum()) == len(P)
        found[key.replace("/", ".")] = P.argmax(1).tolist()
    return found


def scaled(layer, sizes, dim=0):
    """Gives each channel weights of that size, of both signs, and a bias that must not count."""
    with torch.no_grad():
        sizes = torch.tensor(sizes, dtype=torch.float64)
        layer.weight.copy_(torch.randn_like(layer.weight).sign())
        layer.weight.mul_(sizes.view([-1 if d == dim else 1 for d in range(layer.weight.dim())]))
        if layer.bias is not None:
            layer.bias.copy_(100 * torch.arange(len(layer.bias)))
    return layer


def chain(norm=True):
    """Three convolutions, the second transposed, a Linear layer behind a flatten."""
    torch.manual_seed(0)
    return (
        nn.Sequential(
            scaled(nn.Conv2d(2, 5, 3), [3, 1, 5, 2, 4]),
            nn.BatchNorm2d(5) if norm else nn.Identity(),
            nn.ReLU(),
            scaled(nn.ConvTranspose2d(5, 4, 2), [2, 1, 3, 2.5], dim=1),
            nn.ReLU(),
            nn.Flatten(),
            scaled(nn.Linear(4 * 5 * 6, 6), [1, 6, 2, 5, 3, 4]),
            nn.BatchNorm1d(6) if norm else nn.Identity(),
            nn.Linear(6, 2),
        )
        .double()
        .eval()
    )


X = normal(4, 2, 6, 7)


def test_l1_keeps_the_channels_that_the_largest_weights_write():
    wanted = {"0": [2, 4, 0], "3": [2, 3], "6": [1, 3, 5]}
    for norm in (True, False):
        branched = add_branches(chain(norm), X, keep={"0": 3, "3": 2, "6": 3}, channels="l1")
        assert chosen(branched) == wanted


def test_l1_adds_up_all_writers(functional):
    torch.manual_seed(0)
    net = functional(
        lambda net, x: net.last(F.relu(net.a(x) - net.b(x) * torch.sigmoid(net.gate(x)))),
        a=scaled(nn.Conv2d(2, 4, (1, 3), padding=(0, 1)), [1, 5, 2, 0]),  # 6 weights each: 6, 30, 12, 0
        b=scaled(nn.Conv2d(2, 4, 1), [4, 0, 0, 0]),  # 2 weights each: 8, 0, 0, 0
        gate=scaled(nn.Conv2d(2, 4, 3, padding=1), [0, 0, 0, 1]),  # 18 weights each: 0, 0, 0, 18
        last=nn.Conv2d(4, 2, 1),
    ).double()
    for k in (1, 2, 3):  # 14, 30, 12, 18
        branched = add_branches(net, X, keep={"a": 1e-9 if k == 1 else k}, channels="l1")
        assert chosen(branched) == dict.fromkeys(("a", "b", "gate"), [1, 3, 0][:k])


def test_bn_scale_keeps_the_channels_that_batch_norms_scale_most():
    net = chain()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([0.1, -3, 2, 0.5, 0.2]))  # the sign does not matter
        net[7].weight.copy_(torch.tensor([1, 2, 3, -4, 5, 6]))
    branched = add_branches(net, X, keep={"0": 2, "3": 2, "6": 2}, channels="bn-scale")
    # No BatchNorm behind the transposed convolution: as "l1".
    assert chosen(branched) == {"0": [1, 2], "3": [2, 3], "6": [5, 4]}
    assert branched.narrow["1"].weight.tolist() == [-3, 2]


def test_bn_scale_adds_up_all_batch_norms_behind_a_concat_too(make_example):
    _, net, inputs = make_example("dense")
    with torch.no_grad():
        net.norm1.weight.copy_(torch.tensor([1, 0, 0, 0, 0, -6]))
        net.norm2.weight.copy_(torch.tensor([1, 0, 3, 0, 0, 0, 9, 8, 7, 6]))
        net.transition_norm.weight.copy_(torch.tensor([1, 2.5, 0, 0, 0, -1, 0, 0, 0, 5, -5, 4, 3, 2, 1]))
    branched = add_branches(net, inputs, keep={"stem": 3, "conv1": 2, "conv2": 3}, channels="bn-scale")
    # stem: 3, 2.5, 3, 0, 0, 7; conv1: 9, 8, 7, 11; conv2: 5, 4, 3, 2, 1.
    assert sorted(chosen(branched)["stem"]) == [0, 2, 5]
    assert chosen(branched)["conv1"] == [3, 0]
    assert chosen(branched)["conv2"] == [0, 1, 2]


def test_bn_scale_adds_up_the_positions_behind_a_flatten(make_example):
    _, net, inputs = make_example("fire")
    with torch.no_grad():
        net.norm.weight.zero_()
        weight = net.norm.weight[:144].view(6, 24)
        weight[1, 3] = -5.0  # one position of channel 1
        weight[4] = 0.2  # 24 of channel 4: 4.8
        weight[2, :2] = torch.tensor([3.0, -3.0])  # 6
        net.norm.weight[144:] = torch.tensor([1.0, 5, 2, 4, 3])
    branched = add_branches(net, inputs, keep={"conv": 3, "expand1": 2, "squeeze": 2}, channels="bn-scale")
    found = chosen(branched)
    assert found["conv"] == [2, 1, 4]
    assert found["expand1"] == [1, 3]
    # The squeeze sees no BatchNorm.
    assert found["squeeze"] == net.squeeze.weight.abs().sum((1, 2, 3)).topk(2).indices.tolist()


def test_bn_scale_passes_over_batch_norms_without_parameters(randomise):
    net = randomise(nn.Sequential(nn.Conv2d(2, 5, 1), nn.BatchNorm2d(5, affine=False), nn.ReLU(), nn.Conv2d(5, 2, 1)))
    scaled(net[0], [3, 1, 5, 2, 4])
    assert chosen(add_branches(net, X, keep={"0": 2}, channels="bn-scale")) == {"0": [2, 4]}


def test_random_channels_are_drawn_and_can_be_drawn_again():
    def draw(seed):
        torch.manual_seed(seed)
        return chosen(add_branches(net, X, keep={"0": 3, "6": 3}, channels="random"))

    net = chain()
    assert draw(1) == draw(1)
    draws = [draw(seed)["0"] for seed in range(30)]
    assert all(len(set(channels)) == 3 for channels in draws)
    assert len({tuple(sorted(channels)) for channels in draws}) > 5
    assert {channel for channels in draws for channel in channels} == set(range(5))


def test_writers_of_a_group_agree(make_example):
    _, net, inputs = make_example("residual")
    for choice in CHOICES:
        found = chosen(add_branches(net, inputs, keep=0.5, channels=choice))
        assert found["stem"] == found["a2"]
        assert found["b2"] == found["shortcut"] == found["late"]


@pytest.mark.parametrize("choice", CHOICES)
def test_whatever_is_chosen_is_fitted_and_folds(example, choice):
    torch.manual_seed(0)
    branched = add_branches(example.network, example.inputs, keep=0.5, channels=choice)
    x = example.inputs
    torch.testing.assert_close(branched(x), example.network(x), rtol=1e-9, atol=1e-12)
    branched.set_alpha(0)
    torch.testing.assert_close(fold(branched)(x), branched(x), rtol=1e-9, atol=1e-9)


def test_greedy_alone_sees_that_loud_channels_repeat_each_other():
    net = chain(norm=False)
    with torch.no_grad():
        net[0].bias.zero_()
        net[0].weight[4] = 0.9 * net[0].weight[2]
    assert chosen(add_branches(net, X, keep={"0": 2}, channels="l1"))["0"] == [2, 4]
    assert len({2, 4} & set(chosen(add_branches(net, X, keep={"0": 2}))["0"])) == 1


def test_an_unknown_choice_is_refused():
    with pytest.raises(
        NetworkError, match="channels must be one of greedy, l1, bn-scale, random, but got channels='l2'"
    ):
        add_branches(chain(), X, keep=0.5, channels="l2")
