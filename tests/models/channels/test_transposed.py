import itertools

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, counted, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.cost import Cost, CostModel

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def assert_attributes_agree(network):
    for name, layer in network.named_modules():
        if isinstance(layer, TRANSPOSED):
            expected = (layer.in_channels, layer.out_channels // layer.groups, *layer.kernel_size)
            assert tuple(layer.weight.shape) == expected, name
            assert layer.groups in (1, layer.in_channels)
            assert layer.bias is None or layer.bias.shape == (layer.out_channels,)
            assert layer.weight.is_contiguous()
            assert f"({layer.in_channels}, {layer.out_channels}, " in repr(layer).replace(layer._get_name(), "")


class AutoEncoder(nn.Module):
    """Skip-less, of images: strided convolutions down, a bottleneck of features, transposed convolutions up."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, (5, 3), stride=(2, 1), padding=(2, 1), bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(12, 10, 3, stride=2, padding=1, output_padding=(1, 0), bias=False),
            nn.BatchNorm2d(10),
            nn.LeakyReLU(0.1, inplace=True),
            nn.ConvTranspose2d(10, 7, (2, 4), stride=(2, 3), padding=(0, 1), dilation=(1, 2)),
            nn.PReLU(7),
            nn.ConvTranspose2d(7, 7, 3, groups=7, padding=1),
            nn.Tanh(),
            nn.ConvTranspose2d(7, 3, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Generator(nn.Module):
    """A Linear layer before the first transposed convolution, residual sums and a concat of them."""

    def __init__(self):
        super().__init__()
        self.enter = nn.ConvTranspose2d(5, 8, (2, 3))
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.skip = nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False)
        self.aside = nn.Conv2d(6, 4, 3, padding=1)
        self.joint = nn.BatchNorm2d(10)
        self.leave = nn.ConvTranspose2d(10, 3, 3, stride=(1, 2), output_padding=(0, 1))

    def forward(self, z):
        x = F.relu(self.norm(self.enter(z[:, :, None, None])))
        x = F.silu(self.up(x) + self.skip(x))
        return self.leave(self.joint(torch.cat([torch.tanh(self.aside(x)), x], 1)))


def signals():
    return nn.Sequential(
        nn.Conv1d(2, 6, 4, stride=2),
        nn.ELU(),
        nn.ConvTranspose1d(6, 5, 4, stride=2, output_padding=1, bias=False),
        nn.BatchNorm1d(5),
        nn.ConvTranspose1d(5, 5, 3, groups=5, stride=2),
        nn.ReLU(),
        nn.ConvTranspose1d(5, 4, 3, padding=2, dilation=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def volumes():
    return nn.Sequential(
        nn.ConvTranspose3d(2, 5, (1, 2, 3), stride=(2, 1, 1), output_padding=(1, 0, 0)),
        nn.BatchNorm3d(5),
        nn.ReLU(),
        nn.ConvTranspose3d(5, 4, 2, stride=2, bias=False),
        nn.GELU(),
        nn.ConvTranspose3d(4, 2, (2, 1, 1)),
    )


NETWORKS = {
    "auto-encoder": (AutoEncoder, (3, 3, 13, 18)),
    "generator": (Generator, (3, 5)),
    "signals": (signals, (3, 2, 17)),
    "volumes": (volumes, (3, 2, 3, 4, 5)),
}


@pytest.fixture(params=sorted(NETWORKS))
def network(request, randomise):
    build, shape = NETWORKS[request.param]
    net, x = build().eval(), normal(*shape)
    net(x.float())  # lazy layers
    return randomise(net), x


@pytest.mark.parametrize("keep", [0.01, 0.4, 0.9])
@pytest.mark.parametrize("training", [False, True])
def test_transposed_convolutions_fold_exactly(network, randomise_branches, keep, training):
    net, x = network
    branched = add_branches(net, x, keep=keep, init="kaiming")
    assert_equal(branched(x), net(x))
    randomise_branches(branched)
    branched.set_alpha(0)
    small = fold(branched)
    assert not torch.allclose(small(x), net(x), rtol=1e-2)
    branched.train(training)
    small.train(training)
    for _ in range(2):
        assert_equal(small(x), branched(x))
    assert_equal(small.eval()(x), branched.eval()(x))
    assert_attributes_agree(small)
    assert type(small) is type(net)
    assert list(small.state_dict()) == list(net.state_dict())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    small.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())


def test_every_single_group_folds(network, randomise_branches):
    net, x = network
    for group in channel_groups(net, x):
        if group.prunable:
            branched = randomise_branches(add_branches(net, x, keep={group.name: 0.5}, init="kaiming"))
            branched.set_alpha(0)
            assert_equal(fold(branched)(x), branched(x))


def test_a_fitted_fold_is_exact_and_copies_are_reproduced(randomise):
    """The second half of each hidden layer's channels repeats the first, so half of them suffice."""
    net, x = randomise(AutoEncoder()), normal(6, 3, 13, 18)
    with torch.no_grad():
        for weight in (net.encoder[0].weight, net.encoder[3].weight):
            weight[weight.shape[0] // 2 :] = weight[: weight.shape[0] // 2]
        net.encoder[0].bias[4:] = net.encoder[0].bias[:4]
        net.decoder[0].weight[:, 5:] = net.decoder[0].weight[:, :5]
        for norm in (net.encoder[1], net.encoder[4], net.decoder[1]):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor[len(tensor) // 2 :] = tensor[: len(tensor) // 2]
    halves = {"encoder.0": 4, "encoder.3": 6, "decoder.0": 5}
    for data in (x, [x[:2], x[2:]]):
        branched = add_branches(net, x[:2], keep=halves, data=data)
        branched.set_alpha(0)
        assert_equal(fold(branched)(x), branched(x))
    # Narrow BatchNorms take the data's statistics, so the images agree where the wide ones hold them too.
    from branchfold.models.layers.statistics import recompute_batch_norm

    recompute_batch_norm(net, [x])
    small = fold(add_branches(net, x[:2], keep=halves, data=x))
    with torch.no_grad():
        assert (small(x) - net(x)).abs().max() < 5e-3
        assert (small(x) - net(x.roll(1, 0))).abs().max() > 0.05


def test_the_groups_of_an_auto_encoder(randomise):
    groups = channel_groups(randomise(AutoEncoder()), normal(1, 3, 13, 18))
    assert [(g.name, g.width, g.readers) for g in groups] == [
        ("encoder.0", 8, ("encoder.3",)),
        ("encoder.3", 12, ("decoder.0",)),
        ("decoder.0", 10, ("decoder.3",)),
        ("decoder.3", 7, ("decoder.7",)),
        ("decoder.7", 3, ()),
    ]
    assert [g.prunable for g in groups] == [True] * 4 + [False]
    assert groups[2].resolution == (8, 17)


def test_a_transposed_convolution_told_its_output_size_or_with_a_multiplier_is_fixed(functional):
    sized = functional(
        lambda net, x: net.last(torch.relu(net.up(net.first(x), output_size=(15, 17)))),
        first=nn.Conv2d(3, 6, 1),
        up=nn.ConvTranspose2d(6, 8, 3, stride=2),
        last=nn.Conv2d(8, 2, 1),
    )
    first, up, _ = channel_groups(sized, torch.randn(2, 3, 7, 8))
    assert first.reason == up.reason
    assert up.reason.startswith("up is called in an unusual way at ")
    # Not depthwise: two outputs from each input channel.
    multiplied = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 12, 3, groups=6), nn.Conv2d(12, 2, 1))
    assert not channel_groups(multiplied, torch.randn(2, 3, 7, 8))[0].prunable


def test_the_cost_is_torchs_count_after_folding(network):
    net, x = network
    model = CostModel(net, x)
    assert model.full == counted(net, x)
    names = [group.name for group in model.groups if group.prunable]
    for widths in itertools.islice(itertools.product((2, 3), repeat=len(names)), 6):
        chosen = dict(zip(names, widths, strict=True))
        assert model.cost(chosen) == counted(fold(add_branches(net, x, keep=chosen, init="kaiming")), x)


def test_a_small_decoder_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, (2, 3), stride=2, bias=False), nn.Conv2d(6, 2, 1)
    )
    model = CostModel(net, torch.randn(2, 3, 6, 7))  # 6×7 → 4×5 → 8×11
    for a, b in itertools.product((1, 5, 8), (1, 4, 6)):
        # A transposed convolution's kernel is applied at every position of its input.
        macs = 4 * 5 * 3 * 9 * a + 4 * 5 * a * 6 * b + 8 * 11 * b * 2
        parameters = (27 * a + a) + 6 * a * b + (2 * b + 2)
        assert model.cost({"0": a, "2": b}) == Cost(macs, parameters)
