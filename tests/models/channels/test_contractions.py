"""Products summed over channels: attention in all the forms that code writes it in."""

import math

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, counting_flops, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.branching import branched_at
from branchfold.models.cost import CostModel


def weights(net, q, k):
    return (q @ k.transpose(-2, -1) * net.scale).softmax(-1)


def by_bmm(net, q, k, v):
    return torch.bmm(F.softmax(torch.bmm(q * net.scale, k.permute(0, 2, 1)), dim=-1), v)


def by_einsum(net, q, k, v):
    return torch.einsum("b i j, b j d -> bid", torch.einsum("...id,...jd", q, k).div(2).softmax(-1), v)


def by_baddbmm(net, q, k, v):
    return torch.baddbmm(net.table.expand(len(q), -1, -1), q, k.mT, alpha=0.5).softmax(-1) @ v


def by_cosine(net, q, k, v):
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).swapaxes(1, 2) / net.scale + net.table).softmax(-1) @ v


def by_distance(net, q, k, v):
    return torch.matmul((-torch.cdist(q, k)).exp().softmax(-1), v)


def fused(net, q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def fused_with_mask(net, q, k, v):
    """Queries that see nothing among them, and a mask of numbers."""
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=net.table > 0.2, scale=0.4)
    y = y + F.scaled_dot_product_attention(q, k, v, net.table)
    return y + F.scaled_dot_product_attention(q, k, v, is_causal=True)


def of_itself(net, q, k, v):
    """Keys are queries: nothing leaves their branch."""
    return (weights(net, q, q) @ q).sum(-1, keepdim=True) * v


def reused(net, q, k, v):
    """Weights that two products share, and that a sum over channels of another group is added to."""
    share = weights(net, q, k)
    return share @ v + torch.sigmoid(share + v.mean(-1, keepdim=True)) @ v


ATTENTION = [by_bmm, by_einsum, by_baddbmm, by_cosine, by_distance, fused, fused_with_mask, of_itself, reused]


class Attention(nn.Module):
    """One head."""

    def __init__(self, attend):
        super().__init__()
        self.attend, self.scale = attend, 0.4
        self.enter, self.to_q, self.to_k, self.to_v = (nn.Linear(a, b) for a, b in ((4, 5), (5, 6), (5, 6), (5, 7)))
        self.table, self.leave = nn.Parameter(torch.randn(1, 3, 3)), nn.Linear(7, 4)

    def forward(self, x):
        x = self.enter(x)
        return self.leave(self.attend(self, self.to_q(x), self.to_k(x), self.to_v(x)))


@pytest.mark.parametrize("attend", ATTENTION, ids=lambda attend: attend.__name__)
def test_attention_folds_in_every_form(assert_folds, attend):
    assert assert_folds(Attention(attend), normal(2, 3, 4)) == {"enter", "to_q", "to_v"}


def joint(net, x):
    """As in timm: one layer for queries, keys and values, the batch moved behind them."""
    b, n, _ = x.shape
    qkv = net.qkv(x).reshape(b, n, 3, net.num_heads, net.head_dim).permute(2, 0, 3, 1, 4)
    return qkv.unbind(0)


def by_index(net, x):
    b, n, _ = x.shape
    qkv = net.qkv(x)
    width = qkv.shape[-1] // 3 // net.num_heads
    qkv = qkv.reshape(b, n, 3, net.num_heads, width).permute(2, 0, 3, 1, 4)
    return qkv[0], qkv[1], qkv.select(0, 2)


def chunked(net, x):
    return (y.unflatten(-1, (net.num_heads, -1)).movedim(2, 1) for y in net.qkv(x).chunk(3, dim=-1))


def heads_in_the_batch(net, x):
    b, n, _ = x.shape
    qkv = net.qkv(x).reshape(b, n, 3, net.num_heads, -1).permute(2, 0, 3, 1, 4).reshape(3, b * net.num_heads, n, -1)
    return (y.view(b, net.num_heads, n, -1) for y in qkv.unbind(0))


class Heads(nn.Module):
    """Several heads in a residual stream with a norm."""

    def __init__(self, split, attend):
        super().__init__()
        self.split, self.attend, self.num_heads, self.head_dim = split, attend, 2, 4
        self.scale = self.head_dim**-0.5
        self.enter, self.qkv = nn.Linear(5, 6), nn.Linear(6, 24)
        self.proj, self.leave = nn.Linear(8, 6), nn.Linear(6, 3)
        self.norm, self.q_norm, self.mix = nn.LayerNorm(6), nn.LayerNorm(4), nn.Linear(2, 2)

    def forward(self, x):
        x = self.enter(x)
        q, k, v = self.split(self, self.norm(x))
        y = self.attend(self, q, k, v).transpose(1, 2).flatten(2)
        return self.leave(x + self.proj(y))


def plainly(net, q, k, v):
    return weights(net, q, k) @ v


def with_norms(net, q, k, v):
    return weights(net, net.q_norm(q), k.tanh()) @ v


def talking(net, q, k, v):
    """A layer that mixes the heads' weights."""
    return net.mix(weights(net, q, k).permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v


HEADS = [
    (joint, fused),
    (joint, with_norms),
    (joint, talking),
    (by_index, plainly),
    (chunked, plainly),
    (heads_in_the_batch, fused),
]


@pytest.mark.parametrize(("split", "attend"), HEADS, ids=lambda function: function.__name__)
def test_several_heads_fold(assert_folds, split, attend):
    found = assert_folds(Heads(split, attend), normal(2, 3, 5))
    assert {"enter", "qkv"} <= found
    assert "mix" not in found


def test_weights_are_blended_before_another_groups_values(randomise, randomise_branches):
    """By hand: (α · the original's weights + (1 − α) · the branch's) @ values."""
    network, x = randomise(Attention(by_bmm)), normal(2, 3, 4)
    branched = randomise_branches(add_branches(network, x, keep={"to_q": 0.5}, init="kaiming"))
    branched.set_alpha(0.3)
    y = network.enter(x)
    q, k, v = network.to_q(y), network.to_k(y), network.to_v(y)
    narrow = weights(network, branched.compress.at("to_q")(q), branched.compress.at("to_k")(k))
    assert_equal(branched(x), network.leave((0.3 * weights(network, q, k) + 0.7 * narrow) @ v))


def test_other_batches_and_lengths_fold_alike(randomise, randomise_branches):
    network = randomise(Heads(by_index, fused))
    branched = randomise_branches(add_branches(network, normal(2, 3, 5), keep=0.5, init="kaiming"))
    branched.set_alpha(0)
    small = fold(branched)
    assert small.scale == network.scale
    for shape in ((1, 3, 5), (5, 7, 5)):
        assert_equal(small(normal(*shape)), branched(normal(*shape)))


def test_products_count_as_torch_counts_them(randomise):
    network, x = randomise(Heads(joint, fused)), normal(3, 4, 5)
    model = CostModel(network, x)
    for widths in ({}, {"qkv": 1}, {"qkv": 2, "enter": 3}):
        small = fold(branched_at(network, x, widths=widths, init="selection"))
        with torch.no_grad(), counting_flops() as counter:
            small(x)
        assert model.cost(widths).macs * 2 * len(x) == counter.get_total_flops()


def with_a_table(net, q, k, v):
    return v * (q @ net.square).mean(-1, keepdim=True)


def test_what_attention_cannot_be_followed_through_is_told():
    network = Attention(with_a_table)
    network.register_buffer("square", torch.randn(6, 2), persistent=False)
    found = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3, 4))}
    assert found["to_q"] == "matmul combines it with square, which no layer writes"


def scaled_by_the_width(net, q, k, v):
    """As in the Annotated Transformer, and by a power; the width of one group beside another's values."""
    y = (q @ k.mT / math.sqrt(q.size(-1)) * k.shape[-1] ** -0.5).softmax(-1) @ (v / v.shape[-1])
    return y * (q.shape[-1] % 5 + 1)


def fused_by_the_width(net, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, scale=1 / q.size(-1)) - v.mean(-1, keepdim=True) / v.size(2)


@pytest.mark.parametrize("attend", [scaled_by_the_width, fused_by_the_width])
def test_numbers_computed_from_a_width_are_what_the_folded_network_computes(assert_folds, attend):
    assert assert_folds(Attention(attend), normal(2, 3, 4)) == {"enter", "to_q", "to_v"}


def test_sizes_computed_from_a_width_by_a_root_are_told():
    def attend(net, q, k, v):
        return v + v.new_ones(1, 1, int(q.shape[-1] ** 1.0) + 1)

    network = Attention(attend)
    found = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3, 4))}
    assert "something else with its number of channels" in found["to_q"]
    network.attend = lambda net, q, k, v: v.unflatten(1, (q.shape[-1] % 2 + 1, -1)).flatten(1, 2) + q.sum(-1, True)
    found = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3, 4))}
    assert "number of channels" in found["to_q"]
