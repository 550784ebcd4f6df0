"""BatchNorms folded into the layers before them: exact, and only where nothing else depends on either."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal
from torch import nn

from branchfold.models.fusing import fused


def norms(network):
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


# Of those, BatchNorms that follow no layer directly stay: of a concat, and of features that were flattened.
LEFT = {"dense": 3, "fire": 1}


def test_the_fused_network_computes_the_same(example):
    small = fused(example.network, example.inputs)
    assert_equal(small(example.inputs), example.network(example.inputs))
    assert_equal(small(example.inputs[:1]), example.network(example.inputs[:1]))
    assert norms(small) == LEFT.get(example.name, 0)
    assert not small.training


def test_the_given_network_stays(make_example):
    network, inputs = make_example("chain")[1:]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count = norms(network.train())
    fused(network, inputs)
    assert norms(network) == count == 3
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(randomise, groups):
    network = randomise(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), nn.BatchNorm2d(6)))
    inputs = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    small = fused(network, inputs)
    assert_equal(small(inputs), network(inputs))
    assert norms(small) == (groups > 1)


def test_what_goes_elsewhere_too_or_is_called_twice_stays(functional, randomise):
    def forward(self, x):
        x = self.first(x)
        y = self.norm1(x) + x
        y = self.norm2(self.twice(y)) + self.norm3(self.twice(F.relu(y)))
        return self.norm3(y) + self.norm4(self.fourth(y)) * self.fourth.weight.sum()

    layers = {f"norm{index}": nn.BatchNorm2d(4) for index in range(1, 5)}
    convolutions = {name: nn.Conv2d(4, 4, 3, padding=1) for name in ("first", "twice", "fourth")}
    network = randomise(functional(forward, **convolutions, **layers))
    inputs = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    small = fused(network, inputs)
    assert_equal(small(inputs), network(inputs))
    assert norms(small) == 4


def test_a_batch_norm_over_positions_stays(randomise):
    """Of (N, L, F) it normalises L, which is as long as F here."""
    network = randomise(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    rows, tokens = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, 3, dtype=torch.float64)
    assert_equal(fused(network, rows)(rows), network(rows))
    assert norms(fused(network, rows)) == 0
    assert_equal(fused(network, tokens)(tokens), network(tokens))
    assert norms(fused(network, tokens)) == 1


class Scaled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


def test_subclasses_that_compute_something_else(randomise):
    network = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), Scaled(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    network[2].register_forward_hook(lambda module, inputs, output: output + 1)
    inputs = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    small = fused(network, inputs)
    assert_equal(small(inputs), network(inputs))
    assert norms(small) == 2
