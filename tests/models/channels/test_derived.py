"""Values that channels determine but that have none: means over channels, lengths, what attention makes of them."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


def cbam(net, x):
    """Spatial attention: a gate of the channels' mean and maximum, through a convolution and a BatchNorm."""
    y = F.relu(net.stem(x))
    gate = torch.cat([y.mean(1, keepdim=True), y.max(1, keepdim=True)[0]], 1)
    return net.last(y * torch.sigmoid(net.norm(net.gate(gate))).expand_as(y))


def response_norm(net, x):
    """ConvNeXt's GRN, channels last, with a parameter for each channel."""
    y = F.gelu(net.stem(x.permute(0, 2, 3, 1)))
    length = y.norm(p=2, dim=net.dims, keepdim=True)
    share = length / (length.mean(dim=-1, keepdim=True) + 1e-6)
    return net.last(y + torch.addcmul(net.offset.view(1, 1, 1, -1), net.scale.view(1, 1, 1, -1), y * share))


def written_out_norm(net, x):
    y = net.stem(x)
    centred = y - y.mean(dim=1, keepdim=True)
    return net.last(centred * torch.rsqrt(y.var(1, keepdim=True, unbiased=False) + 1e-5))


def lengths(net, x):
    y = net.stem(x)
    return net.last(F.normalize(y, dim=1) + y / torch.linalg.vector_norm(y, dim=1, keepdim=True).clamp(min=0.1))


def channel_softmax(net, x):
    return net.last(net.stem(x).softmax(1) * F.softmax(net.stem(x), dim=2))


def given_to_another(net, x):
    """A gate of one group's channels on another's, and an output of both."""
    y, z = torch.tanh(net.stem(x)), net.other(x)
    gate = torch.sigmoid(y.mean(1, keepdim=True))
    return torch.cat([net.read(z * gate).flatten(1), net.last(y * gate).flatten(1), (gate - z.amax(1)).flatten(1)], 1)


def gate_of_several(net, x):
    """A mean over a concat: the wider of its groups may be narrowed."""
    y, z = net.stem(x), net.other(x)
    both = torch.cat([y, z], 1)
    beside = torch.cat([y, z, both.mean(1, keepdim=True)], 1) + both.amax(1, keepdim=True)
    return net.last(y * both.mean(1, keepdim=True)) + net.read(z) + net.beside(beside)


def of_values(net, x):
    """A length of a parameter that has a value for each channel."""
    y = net.stem(x)
    return net.last(y * net.scale / net.scale.square().sum().sqrt())


def masked(net, x):
    """Values that are infinite on both sides, and truths."""
    y, z = net.stem(x), net.other(x)
    mean = y.mean(1, keepdim=True)
    high = torch.where(mean > 0, mean, mean.new_full((), float("-inf")))
    return net.read(z * high.flatten(2).softmax(2).view_as(high) * (mean > -0.1)) + net.last(y).mul(
        high.exp()[:, :, 1:, 1:]
    )


def layers():
    return {
        "stem": nn.Conv2d(3, 6, 3),
        "other": nn.Conv2d(3, 5, 3),
        "gate": nn.Conv2d(2, 1, 3, padding=1),
        "norm": nn.BatchNorm2d(1),
        "read": nn.Conv2d(5, 2, 2),
        "beside": nn.Conv2d(12, 2, 2),
        "last": nn.Conv2d(6, 2, 2),
    }


DERIVED = {
    cbam: {"stem"},
    written_out_norm: {"stem"},
    lengths: {"stem"},
    channel_softmax: {"stem"},
    given_to_another: {"stem", "other"},
    gate_of_several: {"stem"},
    masked: {"stem", "other"},
}


@pytest.mark.parametrize("forward", DERIVED, ids=lambda forward: forward.__name__)
def test_what_channels_determine_folds(functional, assert_folds, forward):
    assert assert_folds(functional(forward, **layers()), normal(2, 3, 7, 9)) == DERIVED[forward]


def test_a_length_of_values_of_channels_folds(functional, assert_folds):
    network = functional(of_values, **layers())
    network.scale = nn.Parameter(torch.ones(6, 1, 1))
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"stem"}


def test_a_response_norm_folds(functional, assert_folds):
    network = functional(response_norm, stem=nn.Linear(3, 8), last=nn.Linear(8, 2))
    network.scale, network.offset, network.dims = nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(8)), (1, 2)
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"stem"}


def test_on_the_way_the_value_is_blended(functional, randomise, randomise_branches):
    """By hand: the gate that another group reads is α · the original's + (1 − α) · the branch's."""

    def forward(net, x):
        return net.other(x) * net.stem(x).mean(1, keepdim=True)

    x = normal(2, 3, 7, 9)
    network = randomise(functional(forward, stem=nn.Conv2d(3, 6, 3), other=nn.Conv2d(3, 5, 3)))
    branched = randomise_branches(add_branches(network, x, keep=0.5, init="kaiming"))
    branched.set_alpha(0.3)
    y = network.stem(x)
    narrow = branched.compress.at("stem")(y)
    assert_equal(branched(x), network.other(x) * (0.3 * y.mean(1) + 0.7 * narrow.mean(1))[:, None])
    branched.train().set_blending("probability")
    branched.set_alpha(0.5)
    torch.manual_seed(0)
    each = branched(x)
    alone = [network.other(x) * value.mean(1, keepdim=True) for value in (y, narrow)]
    for i, found in enumerate(each):
        assert any(torch.allclose(found, wanted[i]) for wanted in alone)


def test_other_batches_and_sizes_fold_alike(functional, randomise, randomise_branches):
    network = randomise(functional(given_to_another, **layers()))
    branched = randomise_branches(add_branches(network, normal(2, 3, 7, 9), keep=0.5, init="kaiming"))
    branched.set_alpha(0)
    small = fold(branched)
    for shape in ((1, 3, 7, 9), (5, 3, 8, 6)):
        assert_equal(small(normal(*shape)), branched(normal(*shape)))


FIXED = {
    "numbered": (lambda net, x: net.last(net.stem(x)) * net.stem(x).max(1)[1][:, None, 1:, 1:], "numbers its channels"),
    "argmax": (lambda net, x: net.stem(x).argmax(1), "argmax is not known"),
    "spread": (
        lambda net, x: net.last(net.stem(x) * net.stem(x).mean((1, 2))[:, None, None, :6].transpose(1, 3)),
        "which no layer writes",
    ),
    "written into": (lambda net, x: _written(net.stem(x).mean(1), net.other(x)), "writes into"),
}


def _written(mean, other):
    mean[:, 0] = other[:, 0, 0]
    return mean


@pytest.mark.parametrize("kind", sorted(FIXED))
def test_what_cannot_follow_is_told(functional, kind):
    forward, reason = FIXED[kind]
    groups = {g.name: g for g in channel_groups(functional(forward, **layers()), normal(2, 3, 7, 9).float())}
    assert reason in groups["stem"].reason
