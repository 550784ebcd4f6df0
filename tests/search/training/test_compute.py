import torch
from torch import nn

from branchfold.models import add_branches
from branchfold.search.training.compute import FORWARD_PASSES, Meter


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))


INPUTS = (torch.zeros(2, 2, 7, 9),)
# 2×7×9 becomes 3×4 positions.
MACS = 12 * (2 * 6 * 9 + 6 * 4)


def test_an_epoch_of_the_baseline_is_one():
    meter = Meter.of(50, MACS, INPUTS)
    assert meter.macs(network()) == MACS
    for examples in (20, 20, 10):
        meter.spend(meter.macs(network()), examples)
    assert FORWARD_PASSES == 3
    assert meter.spent == 1.0


def test_branches_cost_what_they_multiply():
    branched = add_branches(network().double(), torch.zeros(2, 2, 7, 9).double(), keep={"0": 2}, init="kaiming")
    meter = Meter.of(1, MACS, INPUTS)
    # P (2, 6) and E (6, 2) at 12 positions each.
    assert meter.macs(branched) == MACS + 2 * 12 * 12


def test_counting_leaves_mode_and_statistics_alone():
    plain = network().train()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    state = torch.get_rng_state()
    Meter.of(1, MACS, INPUTS).macs(plain)
    assert plain.training
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
