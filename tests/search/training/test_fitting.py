import copy
import math

import pytest
import torch
from torch import nn

from branchfold.search.tasks.classification import Classification
from branchfold.search.training.fitting import BaselineTraining, fit


class Batches:
    """Four batches of 6 images (1, 5, 4) in three classes, always the same."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.batches = [
            (torch.randn(6, 1, 5, 4, generator=draw), torch.randint(0, 3, (6,), generator=draw)) for _ in range(4)
        ]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).train()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mean_loss_is_that_of_the_epochs_batches(smoothing):
    images, plain = Batches(), network()
    module = BaselineTraining(
        plain, Classification(), lr=1e-9, weight_decay=0.0, total_steps=4, label_smoothing=smoothing
    )
    assert math.isnan(module.mean_loss)
    with torch.no_grad():
        smoothed = nn.CrossEntropyLoss(label_smoothing=smoothing)
        losses = [smoothed(copy.deepcopy(plain)(x), y) for x, y in images]
    fit(module, images, epochs=1, callbacks=[])
    assert module.mean_loss == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)


def test_one_cycle_of_nesterov_sgd_is_torchs():
    plain, by_hand = network(), network()
    fit(
        BaselineTraining(plain, Classification(), lr=0.1, weight_decay=1e-3, total_steps=8),
        Batches(),
        epochs=2,
        callbacks=[],
    )
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8, pct_start=0.3, cycle_momentum=False)
    for step in range(8):
        images, labels = Batches().batches[step % 4]
        optimizer.zero_grad()
        nn.functional.cross_entropy(by_hand(images), labels).backward()
        optimizer.step()
        if step < 7:
            cycle.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, by_hand.state_dict()[name], msg=name)
