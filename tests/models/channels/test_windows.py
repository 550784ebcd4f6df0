"""Attention in windows, with shapes that training alone computes; tensors made in the shape of others."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import channel_groups


def drop_path(x, training):
    """Some examples alone are heard while the network trains, as in timm."""
    if not training:
        return x
    kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.8)
    return x * kept.div_(0.8)


class Windows(nn.Module):
    """As in Swin: positions are padded, rolled, taken in windows with a table of biases, and put back."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.window = 2, 2
        self.enter, self.norm, self.qkv, self.proj = (
            nn.Conv2d(3, 6, 3),
            nn.LayerNorm(6),
            nn.Linear(6, 24),
            nn.Linear(8, 6),
        )
        self.table = nn.Parameter(torch.randn(7, 2))
        self.register_buffer("index", torch.arange(16) % 7, persistent=False)
        self.merge, self.leave = nn.Linear(24, 5), nn.Linear(5, 3)

    def attend(self, x):
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        bias = self.table[self.index].view(4, 4, -1).permute(2, 0, 1).unsqueeze(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(y.transpose(1, 2).reshape(b, n, -1))

    def windows(self, x):
        b, h, w, c = x.shape
        s = self.window
        x = F.pad(x, (0, 0, 0, w % s, 0, h % s))
        _, high, wide, _ = x.shape
        parts = torch.roll(x, (-1, -1), (1, 2)).view(b, high // s, s, wide // s, s, c).permute(0, 1, 3, 2, 4, 5)
        parts = self.attend(parts.contiguous().view(-1, s * s, c)).view(-1, s, s, c)
        x = parts.view(b, high // s, wide // s, s, s, -1).permute(0, 1, 3, 2, 4, 5).contiguous()
        return torch.roll(x.view(b, high, wide, -1), (1, 1), (1, 2))[:, :h, :w, :].contiguous()

    def forward(self, x):
        x = self.enter(x).permute(0, 2, 3, 1)
        for _ in range(2):
            x = x + drop_path(self.windows(self.norm(x)), self.training)
        b, h, w, c = x.shape
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.leave(torch.relu(self.merge(x)))


def test_windows_fold(assert_folds):
    assert assert_folds(Windows(), normal(2, 3, 7, 9), training=(False,)) == {"enter", "qkv", "merge"}


def masked_attention(x, weight, bias, project, heads, training):
    """A function of its own that torch.fx is told to leave whole, as in torchvision's Swin: its mask is written."""
    b, n, c = x.shape
    q, k, v = F.linear(x, weight, bias).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    mask = x.new_zeros((n, n))
    for count, (start, stop) in enumerate(((0, -5), (-5, -2), (-2, None))):
        mask[start:stop, start:stop] = count + 1
    mask = mask.masked_fill(mask == 0, -9.0).masked_fill(mask != 0, 0.0)
    attention = (q * (c // heads) ** -0.5) @ k.transpose(-2, -1) + mask
    attention = F.dropout(attention.softmax(-1), 0.0, training)
    return F.linear((attention @ v).transpose(1, 2).reshape(b, n, c), project)


torch.fx.wrap("masked_attention")


def test_a_function_that_fx_would_leave_whole_is_followed(functional, assert_folds):
    network = functional(
        lambda net, x: net.last(
            masked_attention(net.first(x).flatten(2).mT, net.qkv.weight, net.qkv.bias, net.proj.weight, 2, net.training)
        ),
        first=nn.Conv2d(3, 8, 3),
        qkv=nn.Linear(8, 24),
        proj=nn.Linear(8, 8, bias=False),
        last=nn.Linear(8, 5),
    )
    assert assert_folds(network, normal(2, 3, 5, 6)) == {"first", "proj"}


MADE = {
    "as another": lambda net, x: net.last(net.first(x).flatten(2).softmax(2).view_as(net.first(x))),
    "flat as another": lambda net, x: net.last((y := net.first(x)).flatten(1).tanh().reshape_as(y)),
    "filled": lambda net, x: net.last((y := net.first(x)) + torch.full_like(y, 0.3) - y.new_empty(1).fill_(0.1)),
    "new": lambda net, x: net.last((y := net.first(x)) + y.new_ones(1, y.shape[1], 1, 1) * y.new_full((1, 1, 1, 1), 2)),
}


@pytest.mark.parametrize("kind", MADE)
def test_tensors_in_the_shape_of_others_fold(functional, assert_folds, kind):
    network = functional(MADE[kind], first=nn.Conv2d(3, 6, 3), last=nn.Conv2d(6, 2, 2))
    assert assert_folds(network, normal(2, 3, 7, 9)) == {"first"}


def test_new_tensors_of_a_written_size_are_told(functional):
    def forward(net, x):
        y = net.first(x)
        return net.last(y + y.new_ones(1, 6, 1, 1) * y.new_zeros(y.shape[1], y.shape[1]).sum())

    network = functional(forward, first=nn.Conv2d(3, 6, 3), last=nn.Conv2d(6, 2, 2))
    found = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3, 7, 9))}
    assert "hard-codes its shape" in found["first"]
