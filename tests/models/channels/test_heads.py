"""Heads: a stream that must be as wide as all of them together, whatever the width of one is."""

import pytest
import torch
from comparing import normal
from torch import nn

from branchfold.models import channel_groups


class Attention(nn.Module):
    """Self-attention over tokens with a residual stream, as libraries write it."""

    def __init__(self, merged, width=12, heads=3):
        super().__init__()
        self.heads, self.head_dim, self.scale, self.merged = heads, width // heads, (width // heads) ** -0.5, merged
        self.embed, self.norm, self.qkv = nn.Linear(5, width), nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.proj, self.last = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x):
        x = self.embed(x)
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = (q * self.scale @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.last(x + self.proj(self.merged(y.transpose(1, 2), b, n, c)))


MERGED = {
    "as wide as the stream": (lambda y, b, n, c: y.reshape(b, n, c), {"embed"}),
    "flattened": (lambda y, b, n, c: y.flatten(2), {"embed", "qkv"}),
    "whatever comes": (lambda y, b, n, c: y.reshape(b, n, -1), {"embed", "qkv"}),
}


@pytest.mark.parametrize("kind", MERGED)
def test_heads_stay_and_are_narrowed(assert_folds, kind):
    merged, groups = MERGED[kind]
    for keep in (0.01, 0.5):
        assert assert_folds(Attention(merged), normal(2, 7, 5), keep=keep) == groups


def test_a_stream_that_code_makes_as_wide_as_its_heads_is_one_group_with_them():
    stream = channel_groups(Attention(MERGED["as wide as the stream"][0]), torch.randn(2, 7, 5))[0]
    assert (stream.width, stream.writers) == (4, ("embed", "qkv", "proj"))
    assert stream.attributes == ("head_dim",)
    assert stream.heads > 1


class Multiplied(nn.Module):
    """As in FastViT: each channel becomes two, and what attention yields as one tensor is added to them."""

    def __init__(self, heads):
        super().__init__()
        self.heads, self.enter, self.wide = heads, nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.qkv, self.last = nn.Linear(16, 48), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        x = self.wide(self.enter(x))
        b, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).mT).reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(b, h * w, c)
        return self.last(x + y.mT.reshape(b, c, h, w))


@pytest.mark.parametrize(("heads", "width"), [(2, 4), (1, 8), (4, 2)])
def test_heads_beside_channels_that_were_multiplied_lie_as_these_do(assert_folds, heads, width):
    """Twice eight are as many as two heads of eight, but each channel's two outputs stay in one head."""
    network = Multiplied(heads)
    assert assert_folds(network, normal(2, 3, 5, 6)) == {"enter"}
    assert channel_groups(network, normal(2, 3, 5, 6))[0].width == width
