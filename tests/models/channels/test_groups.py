import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import channel_groups
from branchfold.models.networks.resnet import resnet20
from branchfold.models.networks.vgg import vgg16

X = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(0))


def as_rows(network, inputs):
    return [(g.name, g.width, g.writers, g.readers, g.prunable) for g in channel_groups(network, inputs)]


def test_a_vgg_is_a_chain():
    rows = as_rows(vgg16(width=0.125), torch.randn(2, 3, 32, 32))
    paths = [f"features.{i}" for i in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)] + ["classifier"]
    widths = [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]
    expected = [(a, w, (a,), (b,), True) for a, b, w in zip(paths, paths[1:], widths, strict=False)]
    assert rows == [*expected, ("classifier", 10, ("classifier",), (), False)]


def test_a_resnet_stage_is_one_group_with_several_writers():
    rows = as_rows(resnet20(), torch.randn(1, 3, 32, 40))
    stream = [
        (
            "conv1",
            16,
            ("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"),
            ("layer1.0.conv1", "layer1.1.conv1", "layer1.2.conv1", "layer2.0.conv1", "layer2.0.shortcut.0"),
            True,
        ),
        (
            "layer2.0.conv2",
            32,
            ("layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2", "layer2.2.conv2"),
            ("layer2.1.conv1", "layer2.2.conv1", "layer3.0.conv1", "layer3.0.shortcut.0"),
            True,
        ),
        (
            "layer3.0.conv2",
            64,
            ("layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2", "layer3.2.conv2"),
            ("layer3.1.conv1", "layer3.2.conv1", "fc"),
            True,
        ),
    ]
    inner = [
        (f"layer{s}.{b}.conv1", 16 * 2 ** (s - 1), (f"layer{s}.{b}.conv1",), (f"layer{s}.{b}.conv2",), True)
        for s in (1, 2, 3)
        for b in (0, 1, 2)
    ]
    expected = [
        stream[0],
        *inner[:4],
        stream[1],
        *inner[4:7],
        stream[2],
        *inner[7:],
        ("fc", 10, ("fc",), (), False),
    ]
    assert rows == expected


EXPECTED = {
    "chain": [
        ("features.0", 8, ("features.0",), ("features.4",), True),
        ("features.4", 10, ("features.4",), ("features.7",), True),
        ("features.7", 6, ("features.7",), ("head.0",), True),
        ("head.0", 7, ("head.0",), ("head.3",), True),
        ("head.3", 4, ("head.3",), (), False),
    ],
    "residual": [
        ("stem", 8, ("stem", "a2"), ("a1", "b1", "shortcut", "late"), True),
        ("a1", 5, ("a1",), ("a2",), True),
        ("b1", 6, ("b1",), ("b2",), True),
        ("b2", 12, ("b2", "shortcut", "late"), ("fc",), True),
        ("fc", 4, ("fc",), (), False),
    ],
    "fire": [
        ("squeeze", 6, ("squeeze",), ("expand1", "expand3"), True),
        ("expand1", 5, ("expand1",), ("conv", "fc"), True),
        ("expand3", 7, ("expand3",), ("conv",), True),
        ("conv", 6, ("conv",), ("fc",), True),
        ("fc", 4, ("fc",), (), False),
    ],
    "dense": [
        ("stem", 6, ("stem",), ("conv1", "conv2", "transition"), True),
        ("conv1", 4, ("conv1",), ("conv2", "transition"), True),
        ("conv2", 5, ("conv2",), ("transition",), True),
        ("transition", 7, ("transition",), ("fc",), True),
        ("fc", 4, ("fc",), (), False),
    ],
    "mobile": [
        ("expand", 9, ("expand", "up"), ("down", "project"), True),
        ("down", 4, ("down",), ("up",), True),
        ("project", 6, ("project",), ("last",), True),
        ("last", 4, ("last",), (), False),
    ],
    "decoder": [
        ("enter", 6, ("enter",), ("down", "leave"), True),
        ("down", 8, ("down",), ("up",), True),
        ("up", 5, ("up",), ("leave",), True),
        ("leave", 2, ("leave",), (), False),
    ],
    "tokens": [
        ("enter", 8, ("enter", "fc2"), ("fc1", "leave"), True),
        ("fc1", 11, ("fc1",), ("fc2",), True),
        ("leave", 3, ("leave",), (), False),
    ],
    "linear": [("0", 9, ("0",), ("3",), True), ("3", 6, ("3",), ("5",), True), ("5", 2, ("5",), (), False)],
    "conv1d": [("0", 6, ("0",), ("4",), True), ("4", 5, ("4",), ("8",), True), ("8", 2, ("8",), (), False)],
    "conv3d": [("0", 5, ("0",), ("3",), True), ("3", 4, ("3",), ("7",), True), ("7", 2, ("7",), (), False)],
}


def test_the_groups_of_every_kind_of_network(example):
    assert as_rows(example.network, example.inputs) == EXPECTED[example.name]


FLATTENS = {
    "x.view(-1, 704)": (lambda net, x: x.view(-1, 704), False),
    "x.view(2, 704)": (lambda net, x: x.view(2, 704), False),
    "x.reshape(-1, 8 * 8 * 11)": (lambda net, x: x.reshape(-1, 8 * 8 * 11), False),
    "x.view(x.size(0), 704)": (lambda net, x: x.view(x.size(0), 704), False),
    "torch.reshape(x, (-1, 704))": (lambda net, x: torch.reshape(x, (-1, 704)), False),
    "x.flatten()": (lambda net, x: x.flatten()[None].view(2, -1), True),
    "x.permute": (lambda net, x: x.permute(0, 2, 3, 1).flatten(1), True),
    "x.view(x.size(0), -1)": (lambda net, x: x.view(x.size(0), -1), True),
    "x.reshape(x.shape[0], -1)": (lambda net, x: x.reshape(x.shape[0], -1), True),
    "torch.reshape(x, (x.shape[0], -1))": (lambda net, x: torch.reshape(x, (x.shape[0], -1)), True),
    "torch.flatten(x, start_dim=1)": (lambda net, x: torch.flatten(x, start_dim=1), True),
    "x.flatten(1)": (lambda net, x: x.flatten(1), True),
    "nn.Flatten": (lambda net, x: net.flat(x), True),
}


@pytest.mark.parametrize("kind", FLATTENS)
def test_a_flatten_carries_channels_unless_it_hard_codes_their_number(functional, kind):
    flatten, carries = FLATTENS[kind]
    network = functional(
        lambda net, x: net.fc(flatten(net, F.relu(net.conv(x)))),
        conv=nn.Conv2d(3, 8, 3, padding=1),
        flat=nn.Flatten(),
        fc=nn.Linear(704, 4),
    )
    (conv, _) = channel_groups(network, X)
    assert conv.prunable is carries
    assert conv.readers == (("fc",) if carries else ())
    if not carries:
        assert "hard-codes" in conv.reason or "not known" in conv.reason


def test_a_concat_along_another_dimension_makes_its_parts_one_group(functional):
    layers = {name: nn.Conv2d(3, 8, 3) for name in ("left", "right")}
    for dim in (0, 2, -1):
        network = functional(
            lambda net, x, dim=dim: net.last(torch.cat([net.left(x), net.right(x)], dim)),
            **layers,
            last=nn.Conv2d(8, 4, 1),
        )
        assert as_rows(network, X)[0] == ("left", 8, ("left", "right"), ("last",), True)


def test_the_given_network_is_not_changed(example):
    network = example.network
    modes = {}
    for i, (name, module) in enumerate(network.named_modules()):
        module.training = modes[name] = i % 3 != 1
    state = copy.deepcopy(network.state_dict())
    attributes = {name: set(module.__dict__) for name, module in network.named_modules()}
    inputs = example.inputs.clone()
    channel_groups(network, inputs)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert {name: set(module.__dict__) for name, module in network.named_modules()} == attributes
    assert torch.equal(inputs, example.inputs)
    assert list(network.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
