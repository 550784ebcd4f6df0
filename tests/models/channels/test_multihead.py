"""Torch's own attention and transformers: recorded as what they compute, folded as the modules that they are."""

import pytest
import torch
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold


def plainly(net, x):
    return x + net.attention(h := net.norm(x), h, h)[0]


def without_weights(net, x):
    h = net.norm(x)
    return x + net.attention(h, h, h, need_weights=False)[0]


def with_masks(net, x):
    later = x.new_full((3, 3), float("-inf")).triu(1)
    padded = x.new_zeros(len(x), 3).index_fill(1, torch.tensor([0]), -2.0)
    hidden = torch.tensor([[False, True, False]]).expand(len(x), -1)
    y = net.attention(x, x, x, key_padding_mask=padded, attn_mask=later)[0]
    return x + y + net.attention(y, y, y, hidden, False, torch.eye(3, dtype=torch.bool))[0]


def weights_as_output(net, x):
    y, weights = net.attention(h := net.norm(x), h, h, average_attn_weights=False)
    return x + y * weights.sum((1, 3))[:, :, None]


def positions_first(net, x):
    h = net.norm(x).transpose(0, 1)
    return x + net.first_positions(h, h, h)[0].transpose(0, 1)


def across(net, x):
    seen = net.norm(x)[:, :2].tanh()
    return x + net.attention(x, seen, seen)[0] + net.attention(x, seen, net.norm(seen))[0]


class Network(nn.Module):
    def __init__(self, extend, **modules):
        super().__init__()
        self.extend = extend
        self.enter, self.norm, self.leave = nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.leave(self.extend(self, self.enter(x)))


FORWARDS = [plainly, without_weights, with_masks, weights_as_output, positions_first, across]


@pytest.mark.parametrize("extend", FORWARDS, ids=lambda extend: extend.__name__)
def test_multihead_attention_folds(assert_folds, extend):
    name = "first_positions" if extend is positions_first else "attention"
    attention = nn.MultiheadAttention(8, 2, batch_first=name == "attention", bias=extend is not across)
    assert assert_folds(Network(extend, **{name: attention}), normal(2, 3, 5)) == {"enter"}


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.mark.parametrize("norm_first", [True, False])
def test_an_encoder_folds_to_an_encoder(assert_folds, norm_first):
    network = Network(lambda net, x: net.encoder(x), encoder=encoder(norm_first))
    assert assert_folds(network, normal(2, 3, 5)) == {"enter", "encoder.layers.0.linear1", "encoder.layers.1.linear1"}


def test_a_decoder_folds(assert_folds):
    decoder = nn.TransformerDecoderLayer(8, 2, 12, 0.0, batch_first=True)
    network = Network(lambda net, x: net.decoder(x, net.norm(x)[:, :2]), decoder=decoder)
    assert assert_folds(network, normal(2, 3, 5)) == {"enter", "decoder.linear1"}


def test_the_folded_modules_are_torchs_own_and_narrower(randomise, randomise_branches):
    network, x = randomise(Network(lambda net, x: net.encoder(x), encoder=encoder(norm_first=True))), normal(2, 3, 5)
    branched = randomise_branches(add_branches(network, x, keep=0.5, init="kaiming"))
    branched.set_alpha(0)
    small = fold(branched)
    attention = small.encoder.layers[0].self_attn
    assert type(attention) is nn.MultiheadAttention
    assert (attention.embed_dim, attention.head_dim, attention.num_heads) == (4, 2, 2)
    assert attention.in_proj_weight.shape == (12, 4)
    assert list(small.state_dict()) == list(network.state_dict())
    with torch.no_grad():  # by torch's fast path
        assert_equal(small(normal(5, 7, 5)), branched(normal(5, 7, 5)))


def test_rows_of_its_own_keep_attention_whole():
    attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
    network = Network(plainly, attention=attention)
    found = {group.name: group.reason for group in channel_groups(network, torch.randn(2, 3, 5))}
    assert found["enter"].startswith("MultiheadAttention mixes channels")


@pytest.mark.parametrize("extend", FORWARDS, ids=lambda extend: extend.__name__)
def test_one_example_shows_the_groups_that_several_show(extend):
    """As a file is rebuilt: at one example, whose batch is a dimension of size 1 like others."""
    name = "first_positions" if extend is positions_first else "attention"
    attention = nn.MultiheadAttention(8, 2, batch_first=name == "attention", bias=extend is not across)
    network = Network(lambda net, x: extend(net, x).mean(1), **{name: attention}).double()
    one, several = (
        [(group.name, group.width, group.reason) for group in channel_groups(network, normal(n, 3, 5))] for n in (1, 2)
    )
    assert one == several
