"""The data that branches are fitted to: the forms that they come in, what stays as it was, and what is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches


def test_data_may_come_as_a_generator_of_labelled_batches(make_example):
    _, network, inputs = make_example("residual")
    data = normal(24, *inputs.shape[1:], seed=4)
    forms = [
        data,
        data.split([5, 12, 7]),
        ((x, torch.zeros(len(x), dtype=torch.long)) for x in data.split(10)),
        [[x, torch.zeros(len(x))] for x in data.split(24)],
        (x.float() for x in data.float().split(24)),
    ]
    networks = [add_branches(network, inputs, keep=0.5, data=form) for form in forms]
    expected = networks[0].state_dict()
    for branched, tolerance in zip(networks[1:], (1e-7, 1e-7, 1e-7, 1e-2), strict=True):
        for name, value in branched.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


def test_a_tensor_of_data_is_run_in_chunks(make_example):
    _, network, inputs = make_example("linear")
    data = normal(600, 5, seed=4)
    sizes = []
    network[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    whole = add_branches(network, inputs, keep={"3": 0.5}, data=data)
    assert max(sizes) <= 256
    parts = add_branches(network, inputs, keep={"3": 0.5}, data=[data])
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-8, atol=1e-10)


def test_the_example_inputs_are_the_data_by_default(example):
    branched = add_branches(example.network, example.inputs, keep=0.5)
    given = add_branches(example.network, example.inputs, keep=0.5, data=[(example.inputs,)])
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in branched.state_dict().items())


def test_modes_and_data_stay_as_they_were(functional, randomise):
    network = functional(
        # x is read again, so that it has to change in place.
        lambda net, x: net.second(F.relu(net.norm(net.first(x.sub_(0.5))))) * x.mean(),
        first=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        second=nn.Conv2d(8, 4, 3),
    )
    network = randomise(network).train()
    network.norm.eval()
    x = normal(6, 3, 7, 8)
    data, inputs = x.clone(), x.clone()
    state = copy.deepcopy(network.state_dict())
    branched = add_branches(network, inputs, keep=0.5, data=data)
    assert torch.equal(data, x)
    assert torch.equal(inputs, x)
    assert branched.training
    assert not branched.network.norm.training
    assert all(torch.equal(value, state[name]) for name, value in branched.network.state_dict().items())
    # The first operation is applied once to the original's side and once to the delivered one, not twice to either.
    outside = randomise(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    outside.load_state_dict(dict(zip(outside.state_dict(), state.values(), strict=True)))
    expected = add_branches(outside, x - 0.5, keep=0.5)
    for mine, theirs in zip(branched.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_no_data_and_data_that_are_not_finite_are_refused(make_example):
    _, network, inputs = make_example("chain")
    with pytest.raises(NetworkError, match="there is no data"):
        add_branches(network, inputs, keep=0.5, data=[])
    bad = inputs.clone()
    bad[1, 0, 2, 3] = float("nan")
    with pytest.raises(NetworkError, match="not finite"):
        add_branches(network, inputs, keep=0.5, data=bad)
