"""Layers in groups: every block of the channels keeps as many, and none is mixed with another."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.branches.blocks import dense
from branchfold.models.branching import branched_at
from branchfold.models.checkpoints import at_widths


def conv(i, o, k=3, groups=1, **options):
    return nn.Conv2d(i, o, k, padding=k // 2, groups=groups, **options)


def chain(*layers):
    """Layers between a convolution to 12 channels and one that reads them, with activations between all."""
    parts = [layer for part in (conv(3, 12), *layers) for layer in (part, nn.ReLU())]
    width = next(layer.out_channels for layer in reversed(parts) if hasattr(layer, "out_channels"))
    return nn.Sequential(*parts, nn.Conv2d(width, 2, 1))


class Block(nn.Module):
    """ResNeXt's: what the groups read and write, and a sum over which other layers write, too."""

    def __init__(self):
        super().__init__()
        self.stem, self.shortcut = conv(3, 12), conv(3, 12, 1)
        self.conv1, self.norm1 = conv(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = conv(8, 8, groups=2, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.last = conv(8, 12, 1), conv(12, 2, groups=2)

    def forward(self, x):
        identity, x = self.shortcut(x), self.stem(x)
        x = F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        return self.last(F.relu(self.conv3(x) + identity))


class Split(nn.Module):
    """ResNeSt's: the groups lie in two branches of the same channels, which a gate weighs against each other."""

    def __init__(self, groups):
        super().__init__()
        self.stem, self.conv, self.norm = conv(3, 8), conv(8, 16, groups=groups), nn.BatchNorm2d(16)
        self.squeeze, self.gate, self.last = conv(8, 6, 1), conv(6, 16, 1, groups=groups // 2), conv(8, 2)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(self.stem(x))))
        b, c = x.shape[:2]
        x = x.reshape(b, 2, c // 2, *x.shape[2:])
        gate = self.gate(F.relu(self.squeeze(x.sum(1).mean((2, 3), keepdim=True)))).view(b, 2, c // 2, 1, 1)
        return self.last((x * torch.softmax(gate, 1)).sum(1))


class Joined(nn.Module):
    """Groups over a concatenation, in which two layers become one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.conv, self.last = conv(3, 8), conv(3, 8), conv(16, 12, groups=4), conv(12, 2)

    def forward(self, x):
        return self.last(F.relu(self.conv(torch.cat([self.a(x), F.relu(self.b(x))], 1))))


class Twice(nn.Module):
    """One layer in groups, called twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.last = conv(3, 8), conv(8, 8, groups=4), conv(8, 2)

    def forward(self, x):
        return self.last(F.relu(self.conv(F.relu(self.conv(F.relu(self.stem(x)))))))


NETWORKS = {
    "groups": (lambda: chain(conv(12, 18, groups=3)), {"0", "2"}),
    "without a bias": (lambda: chain(conv(12, 12, groups=3, bias=False), nn.BatchNorm2d(12)), {"0", "2"}),
    "pointwise": (lambda: chain(conv(12, 18, 1, groups=3)), {"0", "2"}),
    "numbers of groups": (lambda: chain(conv(12, 12, groups=2), conv(12, 9, groups=3)), {"0", "2", "4"}),
    "transposed": (lambda: chain(nn.ConvTranspose2d(12, 6, 3, stride=2, groups=3)), {"0", "2"}),
    "depthwise with a multiplier": (lambda: chain(conv(12, 24, groups=12), conv(24, 5)), {"0", "4"}),
    "one channel from each group": (lambda: chain(conv(12, 4, groups=4), conv(4, 5)), {"0", "4"}),
    "read by others, too": (Block, {"shortcut", "stem", "conv1", "conv2"}),
    "in two branches": (lambda: Split(2), {"stem", "conv", "squeeze"}),
    "in two groups of two branches": (lambda: Split(4), {"stem", "conv", "squeeze"}),
    "of a concatenation": (Joined, {"a", "conv"}),
    "called twice": (Twice, {"stem"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_lies_in_groups_is_narrowed_within_each(assert_folds, name):
    build, groups = NETWORKS[name]
    for keep in (0.01, 0.5):  # one channel of each block: then torch would call it depthwise
        assert assert_folds(build(), normal(2, 3, 6, 7), keep=keep) == groups


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv3d])
def test_groups_of_other_dimensions(assert_folds, convolution):
    network = nn.Sequential(convolution(2, 8, 1), nn.ReLU(), convolution(8, 8, 3, groups=2), convolution(8, 2, 1))
    shape = (5,) if convolution is nn.Conv1d else (4, 3, 3)
    assert assert_folds(network, normal(2, 2, *shape)) == {"0", "2"}


def test_each_block_keeps_its_own_channels_in_order(randomise):
    network, x = randomise(chain(conv(12, 18, groups=3))), normal(2, 3, 6, 7)
    first, second, _ = channel_groups(network, x)
    assert (first.blocks, second.blocks) == (3, 3)
    for choice in ("l1", "bn-scale", "greedy", "random"):
        branched = add_branches(network, x, keep=0.5, init="selection", channels=choice)
        small = fold(branched)
        chosen = [dense(branched.compress[path].weight).argmax(1) for path in ("0", "2")]
        assert [(c // size).tolist() for c, size in zip(chosen, (4, 6), strict=True)] == [
            [0, 0, 1, 1, 2, 2],
            [0, 0, 0, 1, 1, 1, 2, 2, 2],
        ]
        assert len({*chosen[0].tolist()}) == 6
        wide = network[2].weight.detach()
        for o, row in enumerate(small[2].weight):
            block = chosen[1][o] // 6
            inside = [int(c) - 4 * int(block) for c in chosen[0] if c // 4 == block]
            assert_equal(row, wide[chosen[1][o], inside])
        assert (small[2].groups, small[2].in_channels, small[2].out_channels) == (3, 6, 9)


def test_the_largest_weights_of_each_block_stay(randomise):
    network, x = randomise(chain(conv(12, 18, groups=3))), normal(2, 3, 6, 7)
    with torch.no_grad():
        network[0].weight[8:] *= 100  # the last block's
    chosen = add_branches(network, x, keep={"0": 3}, init="selection").compress["0"].weight
    sums = network[0].weight.abs().sum((1, 2, 3)).view(3, 4)
    assert torch.equal(chosen.argmax(1) - torch.tensor([0, 4, 8]), sums.argmax(1))


def test_training_leaves_every_block_to_itself(randomise):
    network, x = randomise(chain(conv(12, 18, groups=3))), normal(4, 3, 6, 7)
    branched = add_branches(network, x, keep=0.5).train()
    branched.set_alpha(0.3)
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.05)
    branched(x).square().mean().backward()
    before = branched.compress["0"].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(before, branched.compress["0"].weight)
    branched.set_alpha(0)
    assert_equal(fold(branched)(x), branched(x))


def test_widths_that_do_not_fill_the_blocks_are_refused(randomise):
    network, x = randomise(chain(conv(12, 18, groups=3))), normal(2, 3, 6, 7)
    told = r"group '0' lies in 3 blocks, .* multiple of that, such as 3 or 6, but got 5"
    for widths in ({"0": 5}, {"0": 5, "2": 9}):
        with pytest.raises(NetworkError, match=told):
            add_branches(network, x, keep=widths)
        with pytest.raises(NetworkError, match=told):
            branched_at(network, x, widths=widths)
    with pytest.raises(NetworkError, match="such as 3, but got 1"):
        branched_at(network, x, widths={"0": 1})
    assert list(add_branches(network, x, keep=0.5, multiple=2).plan.widths.values()) == [6, 12]


def test_a_network_in_groups_is_built_again_at_its_widths(randomise):
    x = normal(2, 3, 6, 7)
    branched = add_branches(randomise(Block()), x, keep=0.3)
    small, again = fold(branched), at_widths(Block().double(), [3, 6, 7], branched.plan.widths)
    again.load_state_dict(small.state_dict())
    assert_equal(again.eval()(x), small(x))


def test_one_channel_in_each_block_cannot_be_narrowed():
    network = nn.Sequential(conv(3, 12), nn.ReLU(), nn.ConvTranspose2d(12, 24, 3, groups=12), conv(24, 2))
    first, up, _ = channel_groups(network, torch.randn(2, 3, 6, 7))
    assert first.reason == "layers in groups, such as 2, leave one channel in each of its blocks"
    assert (up.blocks, up.reason) == (12, "")


def test_groups_of_parts_of_channels_fix_them(functional):
    network = functional(
        lambda net, x: net.last(net.conv(F.pixel_unshuffle(net.first(x), 2))),
        first=conv(3, 3),
        conv=conv(12, 18, groups=6),
        last=conv(18, 2),
    )
    reasons = {g.name: g.reason for g in channel_groups(network, torch.randn(2, 3, 6, 8))}
    assert reasons["first"] == "conv has 6 groups, among which its channels are not alike"
    assert reasons["conv"] == ""
