"""What a branch's layers hold at first: the chosen channels and the statistics of what arrives, or random values."""

import pytest
import torch
from comparing import normal
from torch import nn

from branchfold.models import add_branches
from branchfold.models.layers.narrowing import with_channels


def test_narrow_batch_norms_hold_the_statistics_of_what_arrives(make_example):
    for name in ("chain", "residual", "fire", "dense", "mobile", "conv1d", "conv3d", "linear"):
        _, network, inputs = make_example(name)
        data = normal(30, *inputs.shape[1:], seed=3)
        batches = data.split([11, 12, 7])
        branched = add_branches(network, inputs, keep=0.5, data=batches)
        branched.set_alpha(0)
        arrived = {}
        for path, layer in branched.narrow.named_children():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                arrived[path] = []
                layer.register_forward_pre_hook(lambda _, args, seen=arrived[path]: seen.append(args[0]))
        with torch.no_grad():
            for batch in batches:
                branched(batch)
        assert arrived
        for path, seen in arrived.items():
            columns, layer = torch.cat(seen).movedim(1, 0).flatten(1), branched.narrow.get_submodule(path)
            torch.testing.assert_close(layer.running_mean, columns.mean(1), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(layer.running_var, columns.var(1), rtol=1e-9, atol=1e-12)


def test_narrow_layers_hold_the_chosen_channels(make_example):
    _, network, inputs = make_example("mobile")
    branched = add_branches(network, inputs, keep={"expand": 4})
    P = branched.compress["expand"].weight
    assert torch.equal(P.sum(1), torch.ones(4).double())
    assert torch.equal(P.sum(0).sort().values, torch.tensor([0.0] * 5 + [1.0] * 4).double())
    chosen = P.argmax(1)
    assert torch.equal(branched.compress["up"].weight, P)
    assert torch.equal(branched.narrow["expand_bn"].weight, network.expand_bn.weight[chosen])
    assert torch.equal(branched.narrow["expand_bn"].bias, network.expand_bn.bias[chosen])
    assert torch.equal(branched.narrow["depthwise"].weight, network.depthwise.weight[chosen])
    assert torch.equal(branched.narrow["depthwise"].bias, network.depthwise.bias[chosen])
    assert branched.narrow["depthwise"].groups == 4


def test_narrow_layers_hold_the_chosen_channels_positions_behind_a_flatten(make_example):
    _, network, inputs = make_example("fire")
    branched = add_branches(network, inputs, keep={"conv": 2, "expand1": 3})
    channels = {path: branched.compress[path].weight.argmax(1).tolist() for path in ("conv", "expand1")}
    places = [24 * c + s for c in channels["conv"] for s in range(24)] + [144 + c for c in channels["expand1"]]
    assert torch.equal(branched.narrow["norm"].weight, network.norm.weight[places])
    assert torch.equal(branched.narrow["norm"].bias, network.norm.bias[places])


def test_a_copy_with_some_channels_has_their_values(randomise):
    chosen = torch.tensor([4, 0, 3])
    for layer in (nn.BatchNorm2d(6), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=6)):
        layer = randomise(layer)
        narrow = with_channels(layer, chosen)
        x = normal(2, 6, 5, 7)
        assert torch.equal(narrow(x[:, chosen]), layer(x)[:, chosen])


def test_the_random_initialisation_is_random_and_needs_no_data(make_example):
    _, network, inputs = make_example("chain")
    torch.manual_seed(0)
    branched = add_branches(network, inputs, keep=0.5, init="kaiming", data=iter(()))
    other = add_branches(network, inputs, keep=0.5, init="kaiming")
    assert not torch.equal(branched.compress["features/0"].weight, other.compress["features/0"].weight)
    assert torch.equal(branched.compress["features/0"].bias, torch.zeros(4).double())
    norm = branched.narrow["features/1"]
    assert torch.equal(norm.weight, torch.ones(4).double())
    assert torch.equal(norm.running_mean, torch.zeros(4).double())
    # Kaiming's standard deviation for a linear step: 1/√fan_in.
    wide = add_branches(
        nn.Sequential(nn.Linear(2, 900), nn.Linear(900, 2)), torch.zeros(1, 2), keep=0.5, init="kaiming"
    )
    assert wide.compress["0"].weight.std().item() == pytest.approx(900**-0.5, rel=0.02)
    assert wide.blend["_0"].expand["0"].std().item() == pytest.approx(450**-0.5, rel=0.02)
