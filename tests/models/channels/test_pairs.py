"""Products of channels with channels: cross-covariance and factorised attention, which hold a value for each two."""

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.models import channel_groups


def cross_covariance(net, q, k, v):
    """As in XCiT and EdgeNeXt: (B, H, N, C) with weights (B, H, C, C)."""
    q, k, v = (x.transpose(-2, -1) for x in (q, k, v))
    weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * net.temperature
    return (net.drop(weights.softmax(-1)) @ v).transpose(-2, -1)


def fused(net, q, k, v):
    return F.scaled_dot_product_attention(q.mT, k.mT, v.mT, scale=0.7).mT


def of_transposed(net, q, k, v):
    """As in DaViT."""
    weights = (k.transpose(-1, -2) * 0.5 @ v).softmax(dim=-1)
    return (weights @ q.transpose(-1, -2)).transpose(-1, -2)


def factorised(net, q, k, v):
    """As in CoaT, and by einsum, with the channels of both sides exchanged."""
    y = q @ (k.softmax(dim=2).transpose(-1, -2) @ v)
    table = torch.einsum("bhnk,bhnv->bhkv", k, v)
    return y * 0.3 + torch.einsum("bhnv,bhvk->bhnk", q, table.permute(0, 1, 3, 2).contiguous() - table.mT / 2)


def by_the_width(net, q, k, v):
    """With a scale from a product's own shape, and its sum with another."""
    table = k.mT @ v + q.mT @ v * net.temperature
    return q @ (table / table.shape[-1])


class Heads(nn.Module):
    """Two heads in a residual stream."""

    def __init__(self, attend):
        super().__init__()
        self.attend, self.num_heads, self.drop = attend, 2, nn.Dropout(0.0)
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))
        self.enter, self.qkv, self.proj, self.leave = (nn.Linear(a, b) for a, b in ((5, 6), (6, 24), (8, 6), (6, 3)))

    def forward(self, x):
        x = self.enter(x)
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return self.leave(x + self.proj(self.attend(self, q, k, v).transpose(1, 2).reshape(b, n, -1)))


FORMS = [cross_covariance, fused, of_transposed, factorised, by_the_width]


@pytest.mark.parametrize("attend", FORMS, ids=lambda attend: attend.__name__)
def test_products_of_channels_with_channels_fold(assert_folds, attend):
    assert assert_folds(Heads(attend), normal(2, 3, 5)) == {"enter", "qkv"}


class Apart(nn.Module):
    """Queries, keys and values from layers of their own."""

    def __init__(self, attend, values=6):
        super().__init__()
        self.attend = attend
        self.to_q, self.to_k, self.to_v = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, values)
        self.mix, self.leave = nn.Linear(6, 6), nn.Linear(values, 3)

    def forward(self, x):
        return self.leave(self.attend(self, self.to_q(x), self.to_k(x), self.to_v(x)))


def test_layers_whose_channels_are_multiplied_become_one_group(assert_folds):
    network = Apart(lambda net, q, k, v: q @ (k.mT @ v))
    assert assert_folds(network, normal(2, 3, 4)) == {"to_q"}
    (group, _) = channel_groups(network, normal(2, 3, 4))
    assert group.writers == ("to_q", "to_k", "to_v")


REFUSED = {
    "of other widths": (lambda net, q, k, v: q @ (k.mT @ v[..., :]), 5, "matmul has channels along several dimensions"),
    "mixed by a layer": (lambda net, q, k, v: v @ net.mix(k.mT @ q), 6, "mix is not known to treat each two channels"),
    "as positions": (lambda net, q, k, v: v * (k.mT @ q).mean((1, 2), True), 6, "mean is not known to treat each two"),
    "another's values": (lambda net, q, k, v: v @ (k.mT @ q + torch.eye(6)), 6, "add combines"),
    "numbered": (lambda net, q, k, v: v + (k.mT @ q).flatten(1)[:, :1, None], 6, "flatten is not known to treat each"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_such_products_cannot_be_followed_through_is_told(kind):
    attend, values, reason = REFUSED[kind]
    found = {group.name: group.reason for group in channel_groups(Apart(attend, values), torch.randn(2, 3, 4))}
    assert found["to_k" if values == 5 else "to_q"].startswith(reason)
