import copy

import pytest
import torch
from torch import nn

from branchfold.models.layers.statistics import recompute_batch_norm


@pytest.fixture
def network(randomise):
    return randomise(
        nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3))
    )


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(3)
    return [1 + 2 * torch.randn(5, 2, 9, 12, generator=generator, dtype=torch.float64) for _ in range(3)]


def channels(x):
    return x.movedim(1, 0).flatten(1)


def test_the_statistics_are_those_of_the_batches(network, batches):
    recompute_batch_norm(network, batches)
    first = [network[0](x) for x in batches]
    # Batches of one size: the mean of their means, and of their unbiased variances.
    mean = torch.stack([channels(y).mean(1) for y in first]).mean(0)
    variance = torch.stack([channels(y).var(1) for y in first]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(network[1].running_var, variance, rtol=1e-9, atol=1e-12)
    # The second sees each batch as training would normalise it.
    second = []
    for y in first:
        batch_mean, batch_variance = channels(y).mean(1), channels(y).var(1, correction=0)
        z = (y - batch_mean.view(-1, 1, 1)) / (batch_variance.view(-1, 1, 1) + network[1].eps).sqrt()
        second.append(network[3]((z * network[1].weight.view(-1, 1, 1) + network[1].bias.view(-1, 1, 1)).clamp(min=0)))
    mean = torch.stack([channels(y).mean(1) for y in second]).mean(0)
    variance = torch.stack([channels(y).var(1) for y in second]).mean(0)
    torch.testing.assert_close(network[4].running_mean, mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(network[4].running_var, variance, rtol=1e-9, atol=1e-12)


def test_labels_beside_the_inputs_are_ignored(network, batches):
    other = copy.deepcopy(network)
    recompute_batch_norm(network, batches)
    recompute_batch_norm(other, ((x, torch.arange(5)) for x in batches))
    assert torch.equal(network[4].running_var, other[4].running_var)


def test_modes_momentum_and_parameters_stay(network, batches):
    network.train()
    network[1].eval()
    network[4].momentum = 0.03
    parameters = [parameter.clone() for parameter in network.parameters()]
    recompute_batch_norm(network, batches)
    assert [module.training for module in network] == [True, False, True, True, True]
    assert network.training
    assert (network[1].momentum, network[4].momentum) == (0.1, 0.03)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), parameters, strict=True))
    network.eval()
    recompute_batch_norm(network, batches)
    assert not any(module.training for module in network.modules())


def test_modes_stay_after_a_failure(network, batches):
    with pytest.raises(RuntimeError):
        recompute_batch_norm(network, [*batches, torch.zeros(1, 7, 9, 12).double()])
    assert not any(module.training for module in network.modules())
    assert network[1].momentum == 0.1


def test_a_network_without_batch_norm_is_left_alone():
    def never():
        raise AssertionError("the data were read")
        yield

    network = nn.Sequential(nn.Linear(2, 2))
    before = copy.deepcopy(network.state_dict())
    recompute_batch_norm(network, never())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
