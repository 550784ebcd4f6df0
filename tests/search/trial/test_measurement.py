import pytest
import torch
from torch import nn

from branchfold.models.layers.modes import evaluating
from branchfold.search.tasks.classification import Classification
from branchfold.search.trial.measurement import judged


class Known(nn.Module):
    """Logits that are the inputs; counts how often it trains."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.trained = 0

    def forward(self, x):
        self.trained += self.training
        return x * self.weight


def test_accuracy_counts_examples_and_not_batches():
    logits = torch.tensor([[0.0, 1, 2], [5, 1, 2], [0, 3, 2], [1, 0, 0], [0, 0, 1]])
    labels = torch.tensor([2, 0, 1, 1, 0])
    batches = [(logits[:1], labels[:1]), (logits[1:], labels[1:])]
    network = Known().train()
    found = judged(network, batches, Classification())
    assert found.value == 3 / 5
    assert found.scores.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert network.training
    assert network.trained == 0


def test_evaluating_restores_each_modules_mode():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    network.train()
    network[0].eval()
    with evaluating(network) as same:
        assert same is network
        assert not any(module.training for module in network.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in network.modules()] == [True, False, True]
    with pytest.raises(KeyError), evaluating(network):
        raise KeyError
    assert network.training
