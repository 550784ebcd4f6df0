import time

import pytest
import torch
from comparing import counted
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.cost import Cost, CostModel, count_macs
from branchfold.models.networks.factories import build_network


def random_widths(network, inputs, seed):
    generator = torch.Generator().manual_seed(seed)
    groups = [group for group in channel_groups(network, inputs) if group.prunable and group.width > 1]
    assert groups
    share = {group: float(torch.rand((), generator=generator)) for group in groups}
    return {group.name: min(group.width, 1 + int(share[group] * group.width)) for group in groups}


def assert_cost_is_the_folded_networks(network, inputs, seeds):
    model = CostModel(network, inputs)
    assert model.full == model.cost({}) == counted(network, inputs)
    for seed in seeds:
        widths = random_widths(network, inputs, seed)
        keep = {name: 1e-9 if width == 1 else width for name, width in widths.items()}
        small = fold(add_branches(network, inputs, keep=keep, init="kaiming"))
        assert model.cost(widths) == counted(small, inputs), widths
        assert model.cost(widths) < model.full
    return model


@pytest.mark.parametrize(
    ("spec", "arguments", "size"),
    [
        ("vgg16", {"width": 0.25}, (32, 40)),
        ("vgg_digits", {}, (8, 11)),
        ("resnet20", {}, (16, 24)),
        ("torchvision:mobilenet_v2", {"width_mult": 0.35, "num_classes": 7}, (33, 40)),
        ("torchvision:mobilenet_v3_small", {"num_classes": 7}, (33, 40)),
        ("torchvision:squeezenet1_1", {"num_classes": 7}, (33, 40)),
        ("torchvision:densenet121", {"num_classes": 7}, (32, 40)),
    ],
)
def test_the_cost_is_that_of_the_folded_network(spec, arguments, size):
    network = build_network(spec, arguments)
    channels = 1 if spec == "vgg_digits" else 3
    model = assert_cost_is_the_folded_networks(network.eval(), torch.randn(2, channels, *size), [0])
    widths = {group.name: max(1, group.width // 2) for group in model.groups}
    model.cost(widths)
    seconds = []
    for _ in range(20):
        start = time.process_time()  # others may want the core meanwhile
        model.cost(widths)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1e-3


def test_the_cost_of_every_kind_of_network(example):
    assert_cost_is_the_folded_networks(example.network, example.inputs, range(4))


def test_a_small_network_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, (3, 2), stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Flatten(),
        nn.Linear(8 * 2 * 4, 5),
    )
    model = CostModel(network, torch.randn(3, 3, 7, 10))  # 7×10 → 4×6 → 2×4

    def by_hand(k):
        macs = 4 * 6 * k * 3 * 6 + 2 * 4 * k * 9 + k * 2 * 4 * 5
        parameters = (k * 3 * 6 + k) + 2 * k + k + k * 9 + (k * 2 * 4 * 5 + 5)
        return Cost(macs, parameters)

    for k in range(1, 9):
        assert model.cost({"0": k}) == by_hand(k)
    assert model.full == by_hand(8)


def test_what_no_rule_knows_is_counted_at_its_full_cost(functional):
    network = functional(
        lambda net, x: net.last(torch.relu(net.first(net.grouped(x)))) + (net.twice(net.twice(x.flatten(1)))).mean(),
        grouped=nn.Conv2d(4, 6, 3, groups=2),
        first=nn.Conv2d(6, 8, 1),
        twice=nn.Linear(4 * 7 * 8, 4 * 7 * 8),
        last=nn.ConvTranspose2d(8, 2, 3),
    )
    x = torch.randn(2, 4, 7, 8)
    assert CostModel(network, x).full == counted(network, x)


def test_tied_weights_count_once(functional):
    network = functional(
        lambda net, x: net.last(torch.relu(net.b(torch.relu(net.a(torch.relu(net.first(x))))))),
        first=nn.Conv2d(3, 6, 3, padding=1),
        a=nn.Conv2d(6, 6, 3),
        b=nn.Conv2d(6, 6, 3),
        last=nn.Conv2d(6, 5, 1),
    )
    network.b.weight = network.a.weight
    x = torch.randn(2, 3, 8, 9)
    assert CostModel(network, x).full == counted(network, x)


def test_the_cost_is_per_example_and_leaves_modes_alone(make_example):
    _, network, inputs = make_example("residual")
    network.train()
    network.a1_bn.eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    assert count_macs(network, (inputs,)) == count_macs(network, (inputs[:1],))
    assert CostModel(network, inputs).full == CostModel(network, inputs[:1]).full
    assert network.training
    assert not network.a1_bn.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_an_unknown_group_is_refused(make_example):
    _, network, inputs = make_example("linear")
    with pytest.raises(NetworkError, match="no channel group is called '1'; there are 0, 3, 5"):
        CostModel(network, inputs).cost({"1": 3})


def positions_in_the_batch(net, x):
    """Features of every position as examples, and a table that no example has of its own."""
    y = net.fc2(torch.relu(net.fc1(net.stem(x).permute(0, 2, 3, 1).reshape(-1, 6))))
    table = net.fc4(torch.tanh(net.fc3(net.table)))
    return y.mean() + table


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_layers_whose_first_dimension_is_not_the_batch(functional, batch):
    network = functional(
        positions_in_the_batch,
        stem=nn.Conv2d(3, 6, 3),
        fc1=nn.Linear(6, 16),
        fc2=nn.Linear(16, 8),
        fc3=nn.Linear(2, 8),
        fc4=nn.Linear(8, 4),
    )
    network.register_buffer("table", torch.randn(8, 2))
    x = torch.randn(batch, 3, 7, 8)
    model = CostModel(network, x)
    assert {group.name for group in model.groups if group.prunable} == {"fc1", "fc2", "fc3"}
    # 5×6 positions of each image; the table's 8 rows once for all images.
    for a, c in ((16, 8), (8, 4), (3, 2)):
        macs = 30 * (27 * 6 + 6 * a + 8 * a) + 8 * (2 * c + 4 * c) // batch
        small = fold(add_branches(network, x, keep={"fc1": a, "fc3": c}, init="kaiming"))
        assert model.cost({"fc1": a, "fc3": c}) == counted(small, x)
        assert model.cost({"fc1": a, "fc3": c}).macs == macs


def test_parameters_handed_to_modules_are_no_obstacle(functional):
    network = functional(lambda net, x: net.last(net.norm(net.token) + net.first(x)).mean(1), last=nn.Linear(6, 2))
    network.token, network.norm, network.first = nn.Parameter(torch.randn(1, 1, 6)), nn.LayerNorm(6), nn.Linear(5, 6)
    assert count_macs(network, (torch.randn(2, 3, 5),)) == 3 * (5 * 6 + 6 * 2)
