"""Shared fixtures: small networks of every kind that branches know, and randomness that defaults would hide."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, counting_flops
from torch import Tensor, nn

from branchfold.models import add_branches, fold
from branchfold.models.cost import CostModel

torch.set_num_threads(1)

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _randomise(network: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The network with random parameters and BatchNorm statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, mean=0.0, std=1.0):
        tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * std + mean)

    network.to(dtype).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            normal(parameter, std=max(1, parameter[0].numel() if parameter.dim() > 1 else 4) ** -0.5)
        for module in network.modules():
            if isinstance(module, BATCH_NORMS) and module.affine:
                normal(module.weight, 1.0, 0.4)
            if isinstance(module, BATCH_NORMS) and module.running_mean is not None:
                normal(module.running_mean, 0.1, 0.5)
                module.running_var.copy_(0.3 + 2 * torch.rand(module.running_var.shape, generator=generator).to(dtype))
    return network


def _randomise_branches(branched: nn.Module, seed: int = 1) -> nn.Module:
    """Random P, p, E and narrow layers; the modes stay."""
    modes = {name: module.training for name, module in branched.named_modules()}
    for part in (branched.compress, branched.narrow, branched.values, branched.blend):
        dtype = next((p.dtype for p in part.parameters()), torch.float64)
        _randomise(part, seed, dtype)
        seed += 1
    for name, module in branched.named_modules():
        module.training = modes[name]
    return branched


@pytest.fixture(scope="session")
def randomise() -> Callable[..., nn.Module]:
    return _randomise


@pytest.fixture(scope="session")
def randomise_branches() -> Callable[..., nn.Module]:
    return _randomise_branches


class Chain(nn.Module):
    """Convolutions with and without bias, all kinds of padding, dilation, pools, a flatten of 2×5 positions."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 10, (3, 2), stride=(2, 1), padding=(2, 1), bias=False),
            nn.BatchNorm2d(10),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(10, 6, 3, padding="same", dilation=2),
            nn.GELU(),
            nn.AvgPool2d(2),
        )
        self.head = nn.Sequential(nn.Linear(60, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 4))

    def forward(self, x):
        return self.head(torch.flatten(self.features(x), 1))


class Residual(nn.Module):
    """An identity block, a block with a projection, and a stage with three summands, one scaled."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a1, self.a1_bn = nn.Conv2d(8, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.a2, self.a2_bn = nn.Conv2d(5, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b1 = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.b2, self.b2_bn = nn.Conv2d(6, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.shortcut = nn.Conv2d(8, 12, 1, stride=2)
        self.late = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.fc = nn.Linear(12, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.stem_bn(self.stem(x)))
        x = self.relu(x + self.a2_bn(self.a2(self.relu(self.a1_bn(self.a1(x))))))
        y = self.b2_bn(self.b2(torch.tanh(self.b1(x))))
        y += self.shortcut(x)
        y = F.silu(y - 0.5 * self.late(x))
        return self.fc(y.mean((2, 3)))


class Fire(nn.Module):
    """SqueezeNet's module: two branches of different width in a concat, BatchNorm over flattened ones in another."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(3, 6, 1)
        self.expand1 = nn.Conv2d(6, 5, 1)
        self.expand3 = nn.Conv2d(6, 7, 3, padding=1)
        self.conv = nn.Conv2d(12, 6, 3, stride=2)
        self.norm = nn.BatchNorm1d(6 * 4 * 6 + 5)
        self.fc = nn.Linear(6 * 4 * 6 + 5, 4)

    def forward(self, x):
        x = F.relu(self.squeeze(x), inplace=True)
        narrow = F.relu(self.expand1(x))
        x = torch.cat([narrow, F.elu(self.expand3(x))], 1)
        x = F.relu(self.conv(x))
        pooled = F.adaptive_avg_pool2d(narrow, 1)
        return self.fc(self.norm(torch.cat([x.flatten(1), pooled.view(pooled.size(0), -1)], dim=1)))


class Dense(nn.Module):
    """DenseNet's block: BatchNorm after the concat, each layer reads all before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(10), nn.Conv2d(10, 5, 3, padding=1)
        self.transition_norm, self.transition = nn.BatchNorm2d(15), nn.Conv2d(15, 7, 1)
        self.fc = nn.Linear(7, 4)

    def forward(self, x):
        parts = [self.stem(x)]
        parts.append(self.conv1(F.relu(self.norm1(parts[0]))))
        parts.append(self.conv2(F.relu(self.norm2(torch.cat(parts, 1)))))
        x = self.transition(F.relu(self.transition_norm(torch.cat(parts, 1))))
        return self.fc(F.avg_pool2d(x, (3, 2)).amax((2, 3)))


class Mobile(nn.Module):
    """An inverted residual: a depthwise convolution with stride, and a squeeze-and-excite gate."""

    def __init__(self):
        super().__init__()
        self.expand, self.expand_bn = nn.Conv2d(3, 9, 1, bias=False), nn.BatchNorm2d(9)
        self.depthwise = nn.Conv2d(9, 9, (3, 5), stride=(2, 1), padding=(1, 2), groups=9)
        self.depthwise_bn = nn.BatchNorm2d(9)
        self.down, self.up = nn.Conv2d(9, 4, 1), nn.Conv2d(4, 9, 1)
        self.project, self.project_bn = nn.Conv2d(9, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 4, 1)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x):
        x = self.act(self.expand_bn(self.expand(x)))
        x = self.act(self.depthwise_bn(self.depthwise(x)))
        gate = x.mean((2, 3), keepdim=True)
        gate = F.hardsigmoid(self.up(F.leaky_relu(self.down(gate))))
        return self.last(self.project_bn(self.project(x * gate)))


class Decoder(nn.Module):
    """Padding on its own, resizing to a shape that is read, a skip connection, per-channel PReLU, other paddings."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
        self.prelu = nn.PReLU(6)
        self.down = nn.Conv2d(6, 8, 3, stride=2)
        self.shared = nn.PReLU()
        self.up = nn.Conv2d(8, 5, 3, padding=(1, 0), padding_mode="circular")
        self.leave = nn.Conv2d(11, 2, 1)

    def forward(self, x):
        skip = self.prelu(self.enter(x))
        y = self.shared(self.down(F.pad(skip, (1, 0, 2, 1))))
        y = F.interpolate(self.up(y), size=skip.shape[2:], mode="nearest")
        return self.leave(torch.cat((y, skip), dim=1))


class Tokens(nn.Module):
    """Linear layers over the last dimension of (N, L, F), with a residual sum."""

    def __init__(self):
        super().__init__()
        self.enter, self.fc1, self.fc2 = nn.Linear(5, 8), nn.Linear(8, 11), nn.Linear(11, 8, bias=False)
        self.leave = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.tanh(self.enter(x))
        x = x + self.fc2(F.gelu(self.fc1(x)))
        return self.leave(x)


def linear_chain() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 9),
        nn.BatchNorm1d(9),
        nn.ReLU(inplace=True),
        nn.Linear(9, 6, bias=False),
        nn.Tanh(),
        nn.Linear(6, 2),
    )


def conv1d_chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 6, 4, stride=2, padding=3),
        nn.BatchNorm1d(6),
        nn.SiLU(),
        nn.Conv1d(6, 6, 3, groups=6, bias=False),
        nn.Conv1d(6, 5, 3, padding="same"),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(3),
        nn.Flatten(),
        nn.Linear(15, 2),
    )


def conv3d_chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 5, (3, 2, 3), padding=(1, 1, 0), bias=False),
        nn.BatchNorm3d(5),
        nn.ReLU(),
        nn.Conv3d(5, 4, 2, stride=(1, 2, 2)),
        nn.Hardswish(),
        nn.AdaptiveMaxPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


class Example(NamedTuple):
    name: str
    network: nn.Module
    inputs: Tensor


EXAMPLES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (Chain, (4, 3, 13, 18)),
    "residual": (Residual, (4, 3, 9, 12)),
    "fire": (Fire, (4, 3, 9, 13)),
    "dense": (Dense, (4, 3, 7, 8)),
    "mobile": (Mobile, (4, 3, 8, 11)),
    "decoder": (Decoder, (4, 3, 9, 12)),
    "tokens": (Tokens, (4, 6, 5)),
    "linear": (linear_chain, (7, 5)),
    "conv1d": (conv1d_chain, (4, 3, 17)),
    "conv3d": (conv3d_chain, (4, 2, 5, 6, 7)),
}


@pytest.fixture(scope="session")
def make_example() -> Callable[[str], Example]:
    """Builds the example network of that name, randomised, in float64, with inputs."""

    def make(name: str) -> Example:
        build, shape = EXAMPLES[name]
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        return Example(name, _randomise(build()), inputs)

    return make


@pytest.fixture(params=sorted(EXAMPLES))
def example(request, make_example) -> Example:
    """Every example network in turn."""
    return make_example(request.param)


class Functional(nn.Module):
    """Named layers and a forward that a test writes out."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.compute(self, x)


@pytest.fixture(scope="session")
def functional() -> type[nn.Module]:
    return Functional


@pytest.fixture(scope="session")
def assert_folds(randomise, randomise_branches) -> Callable[..., set[str]]:
    """At α = 1 the original, at α = 0 the fold, whole and stage after stage; the groups that have a branch."""

    def check(network, *inputs, training=(False, True, False), keep=0.5):
        randomise(network)
        branched = add_branches(network, inputs, keep=keep, init="kaiming")
        assert_equal(branched(*inputs), network(*inputs))
        randomise_branches(branched)
        names = list(branched.alpha)
        assert names
        branched.set_alpha(0)
        small = fold(branched)
        stage = branched
        for name in names:
            stage = fold(stage, groups=[name])
            assert_equal(stage(*inputs), branched(*inputs))
        for mode in training:  # after training once more, with the statistics that it left
            wanted = branched.train(mode)(*inputs)
            assert_equal(small.train(mode)(*inputs), wanted)
            assert_equal(stage.train(mode)(*inputs), wanted)
        fitted = add_branches(network, inputs, keep=keep)
        fitted.set_alpha(0)
        assert_equal(fold(fitted)(*inputs), fitted(*inputs))
        selected = add_branches(network, inputs, keep=keep, init="selection")
        cut = fold(selected)  # while its branches are not made
        selected.set_alpha(0)
        assert_equal(cut(*inputs), selected(*inputs))
        model = CostModel(network, inputs)
        with counting_flops() as counter:
            small.eval()(*inputs)
        cost = model.cost(branched.plan.widths)
        assert cost.macs * 2 * len(inputs[0]) == counter.get_total_flops()
        assert cost.parameters == sum(p.numel() for p in small.parameters())
        return set(names)

    return check
