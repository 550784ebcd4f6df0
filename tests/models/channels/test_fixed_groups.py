"""Groups that cannot be pruned, each with its reason."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import channel_groups

X = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(0))


def reasons(network, inputs=X):
    return {group.name: group.reason for group in channel_groups(network, inputs)}


@pytest.fixture
def pair(functional):
    """Two convolutions around what a test puts between them."""

    def make(between, **layers):
        layers = {"first": nn.Conv2d(3, 8, 3, padding=1), "second": nn.Conv2d(8, 4, 3), **layers}
        return functional(lambda net, x: net.second(between(net, net.first(x))), **layers)

    return make


def test_outputs_are_fixed_wherever_they_leave(functional):
    network = functional(
        lambda net, x: {"features": (y := net.first(x)), "logits": [net.second(F.relu(y))]},
        first=nn.Conv2d(3, 8, 3),
        second=nn.Conv2d(8, 4, 3),
    )
    assert reasons(network) == dict.fromkeys(("first", "second"), "it is the network's output")


FIXED = {
    "one channel in each group": (
        lambda net, x: net.grouped(x)[:, :8],
        {"grouped": nn.ConvTranspose2d(8, 16, 3, padding=1, groups=8)},
        "layers in groups, such as grouped, leave one channel in each of its blocks",
    ),
    "layer norm over positions before the channels": (
        lambda net, x: net.norm(x.transpose(1, 2)).transpose(1, 2),
        {"norm": nn.LayerNorm([8, 8, 11])},
        "norm normalises over channels and positions before them",
    ),
    "channel slice": (
        lambda net, x: torch.cat([x[:, 4:], x[:, :4]], 1),
        {},
        "getitem hard-codes the channels that it takes",
    ),
    "channel count": (lambda net, x: x.clamp(max=x.shape[1]), {}, "the code reads its number of channels"),
    "channel count by size": (
        lambda net, x: x.clamp(max=x.size(1)),
        {},
        "the code reads its number of channels",
    ),
    "negative index": (lambda net, x: x.clamp(max=x.shape[-3]), {}, "the code reads its number of channels"),
    "shape slice": (lambda net, x: x.clamp(max=x.shape[1:3][0]), {}, "the code reads its number of channels"),
    "channels padded": (lambda net, x: F.pad(x, (0, 0, 0, 0, 1, -1)), {}, "its channels are padded"),
    "channels padded by reflection": (
        lambda net, x: F.pad(x.transpose(1, 3), (1, 0, 0, 0), mode="reflect").transpose(1, 3)[:, 1:],
        {},
        "its channels are padded",
    ),
    "spread over channels": (
        lambda net, x: x * net.gate(x),
        {"gate": nn.Conv2d(8, 1, 1)},
        "",
    ),
    "a value for each channel": (
        lambda net, x: x * net.scale.weight,
        {"scale": nn.Conv2d(8, 1, 1)},
        "mul combines it with scale.weight, which no layer writes",
    ),
    "weight that the code reads": (
        lambda net, x: x * net.first.weight.norm(),
        {},
        "the code reads first's tensors",
    ),
    "in place while in use": (
        lambda net, x: F.relu(x.detach(), inplace=True) + x.sigmoid(),
        {},
        "relu changes it in place while it is still in use",
    ),
    "in place by a module while in use": (
        lambda net, x: net.relu(x.detach()) + x.sigmoid(),
        {"relu": nn.ReLU(inplace=True)},
        "relu changes it in place while it is still in use",
    ),
    "in place through a view": (
        lambda net, x: x.detach().mul_(0.3) + x,
        {},
        "mul_ changes it in place while it is still in use",
    ),
    "in place through a view of some of the channels": (
        lambda net, x: x[:, : x.shape[1] // 2].mul_(0.3).sum() + x,
        {},
        "mul_ changes it in place while it is still in use",
    ),
    "an operation nobody knows": (
        lambda net, x: torch.cumsum(x, 1),
        {},
        "cumsum is not known to treat each channel on its own",
    ),
    "a module nobody knows": (
        lambda net, x: net.norm(x),
        {"norm": nn.LocalResponseNorm(3)},
        "LocalResponseNorm",
    ),
}


@pytest.mark.parametrize("kind", sorted(FIXED))
def test_what_depends_on_the_channels_is_fixed_with_its_reason(pair, kind):
    between, layers, expected = FIXED[kind]
    found = reasons(pair(between, **layers))
    if not expected:
        assert found["gate"] == "mul spreads it over all channels of another tensor"
        assert found["first"] == ""
    else:
        assert found["first"].startswith(expected)
    assert not any("<function" in reason or "0x" in reason for reason in found.values())


def test_a_weight_that_is_a_tensor_of_the_network_is_fixed(pair):
    network = pair(lambda net, x: x + net.offset)
    network.offset = torch.randn(8, 8, 11)
    assert reasons(network)["first"].startswith(f"add combines it with offset, which no layer writes at {__file__}:")
    del network.offset
    network.offset = nn.Parameter(torch.randn(()))
    assert reasons(network)["first"] == ""


def test_a_concat_along_a_keyword_that_is_no_dim_is_not_misread(functional):
    layers = {name: nn.Conv2d(3, 8, 3) for name in ("left", "right")}
    for join in (lambda a, b: torch.cat([a, b], axis=1), lambda a, b: torch.cat(tensors=[a, b], dim=1)):
        network = functional(
            lambda net, x, join=join: net.last(join(net.left(x), net.right(x))), **layers, last=nn.Conv2d(16, 4, 1)
        )
        assert all(not group.prunable for group in channel_groups(network, X))


def test_a_sum_with_fixed_channels_is_fixed_for_its_reason(functional):
    def counts(x):
        return x.clamp(max=x.shape[1])

    for forward in (
        lambda net, x: net.last(counts(net.left(x)) + net.right(x)),
        lambda net, x: net.last(net.left(x) + counts(net.right(x))),
    ):
        network = functional(forward, left=nn.Conv2d(3, 8, 3), right=nn.Conv2d(3, 8, 3), last=nn.Conv2d(8, 4, 1))
        assert reasons(network)["left"].startswith("the code reads its number of channels at ")


def test_tied_weights_are_fixed(pair):
    network = pair(lambda net, x: F.relu(net.third(F.relu(x))), third=nn.Conv2d(8, 8, 3, padding=1))
    network.spare = nn.Conv2d(8, 8, 3, padding=1)
    assert reasons(network)["third"] == ""
    network.spare.weight = network.third.weight
    assert reasons(network)["third"].startswith("third shares weights with spare;")
    assert reasons(network)["first"].startswith("third shares weights with spare;")


def test_a_weight_registered_again_on_the_network_is_fixed(pair):
    network = pair(lambda net, x: F.relu(x))
    network.again = network.first.weight
    assert reasons(network)["first"].startswith("first shares weights with the network itself;")


def test_a_tensor_used_along_another_dimension_is_fixed(functional):
    network = functional(
        lambda net, x: net.norm(F.relu(net.conv(x)).transpose(1, 2)),
        conv=nn.Conv2d(3, 8, 3, padding=1),
        norm=nn.BatchNorm2d(8),
    )
    assert reasons(network)["conv"].startswith("its channels are used along another dimension")


def test_a_batch_norm_over_positions_is_not_taken_for_one_over_features(functional):
    network = functional(
        lambda net, x: net.b(net.norm(net.a(x))), a=nn.Linear(5, 6), norm=nn.BatchNorm1d(6), b=nn.Linear(6, 2)
    )
    assert reasons(network, torch.randn(3, 6, 5))["a"].startswith("its channels are used along another dimension")


def test_a_convolution_without_a_batch_dimension_is_fixed():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    assert channel_groups(network, torch.randn(3, 8, 9)) == ()


def test_what_nothing_reads_is_fixed(functional):
    network = functional(
        lambda net, x: (net.unused(x), net.conv(x))[1], conv=nn.Conv2d(3, 8, 3), unused=nn.Conv2d(3, 8, 3)
    )
    assert reasons(network) == {"unused": "nothing reads it", "conv": "it is the network's output"}


def test_pooling_over_what_has_no_positions_is_fixed(functional):
    # MaxPool2d takes (N, C, L) for one image without a batch: it would pool over the channels.
    layers = {"first": nn.Conv1d(3, 8, 3), "pool": nn.MaxPool2d(3, 1, 1), "second": nn.Conv1d(8, 4, 3)}
    network = functional(lambda net, x: net.second(net.pool(net.first(x))), **layers)
    groups = {group.name: group for group in channel_groups(network, torch.randn(2, 3, 12))}
    assert groups["first"].reason.startswith("pool is called without a batch dimension")


def test_padding_that_shifts_the_channels_is_fixed(functional):
    layers = {"first": nn.Conv2d(3, 8, 3), "second": nn.Conv2d(8, 4, 3)}
    network = functional(lambda net, x: net.second(F.pad(net.first(x), (0, 0, 0, 0, 1, -1))), **layers)
    groups = {group.name: group for group in channel_groups(network, torch.randn(2, 3, 9, 12))}
    assert groups["first"].reason.startswith("its channels are padded")


def test_what_is_added_to_lost_channels_is_told_what_became_of_them(functional):
    """As in ConvNeXt, whose layer norm, written with its width, fixes the whole stream of residual sums."""

    def stream(net, x):
        y = F.layer_norm(net.stem(x), [8, 8, 11]).transpose(2, 3)
        y = net.other(x).transpose(2, 3) + y
        return net.last(y + net.wide(net.inner(y)))

    layers = {"stem": nn.Conv2d(3, 8, 1), "other": nn.Conv2d(3, 8, 1), "inner": nn.Conv2d(8, 12, 1)}
    layers |= {"wide": nn.Conv2d(12, 8, 1), "last": nn.Conv2d(8, 2, 1)}
    found = reasons(functional(stream, **layers))
    assert found.pop("inner") == ""
    assert found.pop("last") == "it is the network's output"
    assert len(set(found.values())) == 1
    assert found.keys() == {"stem", "other", "wide"}
    assert found["wide"].startswith("layer_norm hard-codes its number of channels")
