"""Channels whose number the code writes out are fixed, with the line and what would do."""

import pytest
import torch
from small_networks import conv, reasons
from torch import nn

from branchfold.models import channel_groups

HARD_CODED = {
    "split": (lambda net, x: net.mid(x.split(4, 1)[1]), "split hard-codes the sizes of its parts"),
    "split in sizes": (lambda net, x: net.mid(x.split([4, 4], 1)[0]), "split hard-codes the sizes of its parts"),
    "fewer chunks": (
        lambda net, x: net.mid(torch.cat(x.chunk(5, 1)[:2], 1)),
        "chunk hard-codes the sizes of its parts",
    ),
    "slice": (lambda net, x: net.mid(x[:, :4]), "getitem hard-codes the channels that it takes"),
    "one channel": (lambda net, x: net.mid(x[:, 0, None].expand(-1, 4, -1, -1)), "getitem is not known"),
    "groups": (lambda net, x: x.view(2, 2, 4, 7, 9).sum(1), "view hard-codes its shape at "),
    "apart one by one": (lambda net, x: x.unbind(1)[0][:, None] * net.four, "takes its channels or the batch apart"),
}


@pytest.mark.parametrize("kind", sorted(HARD_CODED))
def test_literals_fix_the_channels_with_the_reason(functional, kind):
    forward, reason = HARD_CODED[kind]
    network = functional(
        lambda net, x: net.last(forward(net, net.stem(x))),
        stem=conv(3, 8),
        mid=conv(4, 4),
        last=conv(4, 2),
    )
    network.four = nn.Parameter(torch.ones(4, 1, 1))
    assert reason in reasons(network, torch.randn(2, 3, 7, 9))["stem"]


def test_a_reason_names_the_line_and_what_would_do(functional):
    network = functional(lambda net, x: net.fc(net.stem(x).view(2, 8 * 63)), stem=conv(3, 8), fc=nn.Linear(504, 2))
    (stem, _) = channel_groups(network, torch.randn(2, 3, 7, 9))
    assert stem.reason.startswith("view hard-codes its shape at ")
    assert "test_hard_coded.py:" in stem.reason
    assert stem.reason.endswith("`x.flatten(1)` would not")
