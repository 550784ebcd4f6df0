import random

import pytest
import torch
from torch import nn

from branchfold.errors import StudyError
from branchfold.models import add_branches, fold
from branchfold.models.cost import CostModel
from branchfold.models.networks.factories import build_network
from branchfold.search.space.budget import relative_cost, widths_for
from branchfold.studies.definition.keys import Budget

NETWORKS = {
    "vgg16": ({"width": 0.25}, (3, 32, 32)),
    "resnet20": ({}, (3, 32, 32)),
    "vgg_digits": ({}, (1, 8, 8)),
}
BUDGETS = [
    Budget(macs=0.05),
    Budget(macs=0.15),
    Budget(macs=0.35),
    Budget(macs=0.8),
    Budget(parameters=0.3),
    Budget(macs=0.35, parameters=0.2),
]


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def subject(request):
    arguments, shape = NETWORKS[request.param]
    network, example = build_network(request.param, arguments), torch.zeros(1, *shape)
    return network, example, CostModel(network, example)


def shares(costs, draw):
    return {group.name: draw.uniform(0.1, 1.0) for group in costs.groups if group.prunable}


def counted(network, example):
    """MACs and parameters of a network as it is, from the shapes that its layers see."""
    macs = 0

    def count(layer, inputs, output):
        nonlocal macs
        macs += output[0].numel() * layer.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        network.eval()(example)
    for handle in handles:
        handle.remove()
    return macs, sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_budget_is_met_within_one_percent_and_never_exceeded(subject, budget):
    network, example, costs = subject
    draw = random.Random(0)
    full = counted(network, example)
    limits = (budget.macs, budget.parameters)
    for round_ in range(60):
        keep = shares(costs, draw)
        widths = widths_for(keep, costs, budget)
        assert widths.keys() == keep.keys()
        spent = tuple(costs.cost(widths))
        if round_ < 2:  # the network itself, narrowed and counted
            by_share = {name: width / costs_width(costs, name) for name, width in widths.items()}
            narrowed = fold(add_branches(network, example, keep=by_share, init="kaiming"))
            assert counted(narrowed, example) == spent
        ratios = [s / (limit * f) for s, f, limit in zip(spent, full, limits, strict=True) if limit is not None]
        assert 0.99 <= max(ratios) <= 1.0


def costs_width(costs, name):
    return next(group.width for group in costs.groups if group.name == name)


def test_without_a_budget_the_widths_are_the_rounded_shares(subject):
    costs = subject[2]
    keep = shares(costs, random.Random(1))
    expected = {name: max(1, round(share * costs_width(costs, name))) for name, share in keep.items()}
    assert widths_for(keep, costs, Budget()) == expected
    assert set(widths_for(dict.fromkeys(keep, 1e-6), costs, Budget()).values()) == {1}


def test_shares_count_relative_to_each_other(subject):
    costs = subject[2]
    keep = shares(costs, random.Random(2))
    halved = {name: share / 2 for name, share in keep.items()}
    assert widths_for(keep, costs, Budget(macs=0.2)) == widths_for(halved, costs, Budget(macs=0.2))
    wide, narrow = sorted(keep, key=lambda name: costs_width(costs, name))[-2:]
    widths = widths_for({**dict.fromkeys(keep, 0.5), wide: 1.0, narrow: 0.1}, costs, Budget(macs=0.2))
    assert widths[wide] / costs_width(costs, wide) > 4 * widths[narrow] / costs_width(costs, narrow)


def test_larger_budgets_buy_larger_networks(subject):
    costs = subject[2]
    keep = shares(costs, random.Random(3))
    macs = [costs.cost(widths_for(keep, costs, Budget(macs=share))).macs for share in (0.1, 0.2, 0.4, 0.7, 1.0)]
    assert macs == sorted(macs)
    assert macs[-1] == costs.full.macs
    same = widths_for(dict.fromkeys(keep, 0.3), costs, Budget(macs=1.0))
    assert all(width == costs_width(costs, name) for name, width in same.items())


def test_unreachable_budget_says_by_how_much(subject):
    costs = subject[2]
    keep = shares(costs, random.Random(4))
    least = relative_cost(dict.fromkeys(keep, 1), costs, Budget(macs=1e-5))
    with pytest.raises(StudyError, match=f"macs = 1e-05.*cannot be met.*{least:.2f} times"):
        widths_for(keep, costs, Budget(macs=1e-5))
    tightest = costs.cost(dict.fromkeys(keep, 1)).macs / costs.full.macs
    assert set(widths_for(keep, costs, Budget(macs=tightest * 1.0000001)).values()) == {1}


def test_other_group_names_than_the_networks_are_left_whole(subject):
    costs = subject[2]
    first, *_, last = [group.name for group in costs.groups if group.prunable]
    assert widths_for({first: 0.5, last: 0.5}, costs, Budget(macs=0.95)).keys() == {first, last}


class TestBounds:
    def test_are_kept_while_the_rest_meets_the_budget(self, subject):
        costs = subject[2]
        draw = random.Random(5)
        names = [group.name for group in costs.groups if group.prunable]
        wide, narrow, frozen = names[0], names[1], names[-1]
        bounds = {wide: (0.7, 1.0), narrow: (0.1, 0.3), frozen: (0.5, 0.5)}
        for _ in range(20):
            widths = widths_for(shares(costs, draw), costs, Budget(macs=0.4), bounds=bounds)
            share = {name: width / costs_width(costs, name) for name, width in widths.items()}
            assert share[wide] >= 0.7
            assert share[narrow] <= 0.3
            assert share[frozen] == 0.5
            assert 0.99 <= costs.cost(widths).macs / costs.full.macs / 0.4 <= 1.0

    def test_hold_without_a_budget(self, subject):
        costs = subject[2]
        names = [group.name for group in costs.groups if group.prunable]
        bounds = {names[0]: (0.5, 0.75), names[1]: (1.0, 1.0)}
        for asked, expected in ((0.1, 0.5), (0.6, 0.6), (1.0, 0.75)):
            widths = widths_for(dict.fromkeys(names, asked), costs, Budget(), bounds=bounds)
            assert widths[names[0]] == round(expected * costs_width(costs, names[0]))
            assert widths[names[1]] == costs_width(costs, names[1])
            assert widths[names[2]] == round(asked * costs_width(costs, names[2]))

    def test_that_no_budget_can_meet_are_told(self, subject):
        costs = subject[2]
        keep = {group.name: 0.5 for group in costs.groups if group.prunable}
        half = costs.cost({name: round(0.5 * costs_width(costs, name)) for name in keep})
        budget = Budget(macs=0.9 * half.macs / costs.full.macs)
        times = half.macs / (budget.macs * costs.full.macs)
        with pytest.raises(StudyError, match=f"with the least channels in every group.*{times:.2f} times"):
            widths_for(keep, costs, budget, bounds=dict.fromkeys(keep, (0.5, 1.0)))


class TestMultiples:
    @pytest.mark.parametrize("multiple", [2, 4])
    def test_of_channels_within_the_budget(self, subject, multiple):
        costs = subject[2]
        draw = random.Random(6)
        for _ in range(20):
            widths = widths_for(shares(costs, draw), costs, Budget(macs=0.35), multiple=multiple)
            assert all(width % multiple == 0 for width in widths.values())
            spent = costs.cost(widths).macs / costs.full.macs
            assert spent <= 0.35
            # No group could take another multiple.
            for name, width in widths.items():
                if width < costs_width(costs, name):
                    wider = min(costs_width(costs, name), width + multiple)
                    assert costs.cost({**widths, name: wider}).macs / costs.full.macs > 0.35

    def test_without_a_budget_are_the_nearest(self, subject):
        costs = subject[2]
        keep = shares(costs, random.Random(7))
        for name, width in widths_for(keep, costs, Budget(), multiple=4).items():
            assert width % 4 == 0
            assert abs(width - keep[name] * costs_width(costs, name)) <= max(
                2, 4 - keep[name] * costs_width(costs, name)
            )

    def test_give_way_to_a_bound(self, subject):
        costs = subject[2]
        names = [group.name for group in costs.groups if group.prunable]
        full = costs_width(costs, names[0])
        least = (full // 2 + 1) / full
        widths = widths_for(dict.fromkeys(names, 0.1), costs, Budget(), bounds={names[0]: (least, 1.0)}, multiple=4)
        assert widths[names[0]] == full // 2 + 1

    def test_that_cost_more_than_the_budget_are_told(self, subject):
        """With one channel in every group the budget would be met, with one multiple it is not."""
        costs = subject[2]
        keep = {group.name: 0.5 for group in costs.groups if group.prunable}
        one, eight = (costs.cost(dict.fromkeys(keep, width)).macs / costs.full.macs for width in (1, 8))
        budget = Budget(macs=(one + eight) / 2)
        with pytest.raises(StudyError, match=r"cannot be met: with the least channels in every group"):
            widths_for(keep, costs, budget, multiple=8)


def test_channels_in_blocks_keep_as_many_in_each():
    layers = [nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 36, 3, groups=6), nn.ReLU(), nn.Conv2d(36, 7, 3)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(7, 2, 1))
    example = torch.zeros(1, 3, 12, 12)
    costs, draw = CostModel(network, example), random.Random(0)
    for share in (0.2, 0.5, 0.9):
        budget, bounds = Budget(macs=share), {"0": (0.3, 0.7)}
        for bounded in ({}, bounds):
            widths = widths_for(shares(costs, draw), costs, budget, bounds=bounded, multiple=1)
            assert widths["0"] % 6 == widths["2"] % 6 == 0
            assert not bounded or widths["0"] == 12  # the only multiple of 6 from 7.2 to 16.8
            assert 0.7 < relative_cost(widths, costs, budget) <= 1
            branched = add_branches(network, example, keep=widths, init="selection")
            assert costs.cost(widths) == counted(fold(branched), example)
