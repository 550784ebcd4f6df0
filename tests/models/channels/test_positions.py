"""Parameters and buffers with more than one value a channel, which are added to or joined with channels."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


class Tokens(nn.Module):
    """Patches (N, 12, 6) as tokens of a stream, to which `extend` does something with parameters."""

    def __init__(self, extend, **shapes):
        super().__init__()
        self.patches, self.extend = nn.Conv2d(3, 6, 2, 2), extend
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)
        for name, shape in shapes.items():
            if name == "buffer":
                self.register_buffer(name, torch.randn(shape, dtype=torch.float64))
            else:
                setattr(self, name, nn.Parameter(torch.randn(shape)))

    def forward(self, x):
        x = self.patches(x)
        return self.head(self.norm(self.extend(self, x.flatten(2).transpose(1, 2))).mean(1))


def resized(net, x):
    grid = net.pos.reshape(1, 2, 3, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(3, 4), mode="bilinear")
    return x + grid.flatten(2).transpose(1, 2)


def split(net, x):
    x = torch.cat((net.token.expand(x.shape[0], -1, -1), x), dim=1)
    pos = torch.cat([net.pos[:, :1], net.pos[:, 1:]], 1)
    return (x + pos)[:, 1:]


EXTENSIONS = {
    "positions": (lambda net, x: x + net.pos, {"pos": (1, 12, 6)}),
    "positions first": (lambda net, x: net.pos + x, {"pos": (12, 6)}),
    "as many as channels": (lambda net, x: (x.unflatten(1, (2, 6)) + net.pos).flatten(1, 2), {"pos": (6, 6)}),
    "some of them": (lambda net, x: x + net.pos[:, 1 : x.shape[1] + 1], {"pos": (1, 17, 6)}),
    "a buffer": (lambda net, x: x * net.buffer, {"buffer": (1, 12, 6)}),
    "channels first": (lambda net, x: x + net.pos.flatten(2).transpose(-1, -2), {"pos": (1, 6, 3, 4)}),
    "rows and columns": (
        lambda net, x: x + (net.rows[:, None] + net.columns[None, :]).reshape(1, 12, -1),
        {"rows": (3, 6), "columns": (4, 6)},
    ),
    "resized": (resized, {"pos": (1, 6, 6)}),
    "token": (lambda net, x: torch.cat([net.token.expand(len(x), -1, -1), x], 1), {"token": (1, 1, 6)}),
    "registers": (lambda net, x: torch.cat([x, net.regs.repeat(len(x), 1, 1)], 1), {"regs": (1, 4, 6)}),
    "registers without a batch": (lambda net, x: torch.cat([x, net.regs.expand(len(x), 4, -1)], 1), {"regs": (4, 6)}),
    "registers beside positions": (
        lambda net, x: torch.cat([net.regs.expand(x.shape[0], -1, -1), x + net.pos], 1),
        {"regs": (1, 12, 6), "pos": (1, 12, 6)},
    ),
    "token and positions": (split, {"token": (1, 1, 6), "pos": (1, 13, 6)}),
    "twice": (lambda net, x: F.gelu(x + net.pos) * net.pos.sigmoid(), {"pos": (1, 12, 6)}),
    "scaled": (lambda net, x: torch.addcmul(net.beta, net.alpha, x), {"alpha": (1, 12, 6), "beta": (1, 1, 6)}),
    "sized": (lambda net, x: x + net.pos.view(1, -1, net.pos.shape[-1]), {"pos": (1, 3, 4, 6)}),
    "rolled": (lambda net, x: torch.roll(x + net.pos, 2, 1), {"pos": (1, 12, 6)}),
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_what_is_added_or_joined_is_narrowed_along(assert_folds, kind):
    extend, shapes = EXTENSIONS[kind]
    network = Tokens(extend, **shapes)
    for keep in (0.01, 0.5):
        assert assert_folds(network, normal(2, 3, 6, 8), keep=keep) == {"patches"}


def test_the_values_that_stay_are_those_of_the_chosen_channels(randomise):
    network = randomise(Tokens(*EXTENSIONS["channels first"][:1], pos=(1, 6, 3, 4)))
    branched = add_branches(network, normal(2, 3, 6, 8), keep={"patches": 4}, init="selection")
    chosen = branched.compress["patches"].weight.argmax(1)
    assert torch.equal(fold(branched).pos, network.pos[:, chosen])


def test_a_buffer_stays_one(randomise):
    network = randomise(Tokens(*EXTENSIONS["a buffer"][:1], buffer=(1, 12, 6)))
    small = fold(add_branches(network, normal(2, 3, 6, 8), keep={"patches": 4}))
    assert dict(small.named_buffers())["buffer"].shape == (1, 12, 4)
    assert not small.buffer.requires_grad


def counted_before(net, x):
    x = x * net.pos.shape[-1]
    return x + net.pos


def used_before(net, x):
    x = x * torch.linalg.vector_norm(net.pos)
    return x + net.pos


FIXED = {
    "its size was read": (counted_before, {"pos": (1, 12, 6)}, "uses pos.shape[2], its number of channels"),
    "it was used": (used_before, {"pos": (1, 12, 6)}, "vector_norm uses it, too"),
    "it is used otherwise": (
        lambda net, x: (x + net.pos) * net.pos.cumsum(2).norm(),
        {"pos": (1, 12, 6)},
        "cumsum is not known",
    ),
    "repeated": (lambda net, x: x + net.pos.repeat(1, 1, 2), {"pos": (1, 12, 3)}, "no layer writes"),
}


@pytest.mark.parametrize("kind", FIXED)
def test_what_else_depends_on_their_channels_fixes_them(kind):
    extend, shapes, reason = FIXED[kind]
    network = Tokens(extend, **shapes)
    first = channel_groups(network, torch.randn(2, 3, 6, 8))[0]
    assert not first.prunable
    assert any(part in first.reason for part in reason.split("|")), first.reason
