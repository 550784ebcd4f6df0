"""Python that computes with sizes and decides by them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold

X = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def padded(net, x):
    """As convolutions of TensorFlow are padded."""
    sizes = [max((math.ceil(n / 2) - 1) * 2 + 3 - n, 0) for n in x.shape[-2:]]
    return F.pad(x, [sizes[1] // 2, sizes[1] - sizes[1] // 2, sizes[0] // 2, sizes[0] - sizes[0] // 2])


def windows(net, x):
    _b, _c, h, w = x.shape
    if h % 2 or w % 2:
        x = F.pad(x, (0, -w % 2, 0, -h % 2))
    assert x.dim() == 4, f"expected four dimensions, but got {x.shape}"
    return F.avg_pool2d(x, 2) if min(x.shape[2:]) >= 2 else x


def offsets(net, x):
    h, w = x.size()[2:]
    return x + (torch.arange(h, device=x.device, dtype=x.dtype)[:, None] / w) * torch.linspace(0, 1, w).to(x.dtype)


def devices(net, x):
    return x.cuda() if x.is_cuda or x.device.type == "cuda" else x.contiguous()


def numbers(net, x):
    return (
        x * (x.shape[-1] ** -0.5) + x.numel() // x.shape[0] / x[0].numel() if torch.jit.is_scripting() else x * x.ndim
    )


def resized(net, x):
    half = [round(n * 0.5) for n in x.shape[2:]]
    return F.interpolate(x, size=half) + F.adaptive_avg_pool2d(x, tuple(half))


def by_values_that_are_known(net, x):
    for step in torch.linspace(0.5, 1, 3).tolist():
        x = x * step if bool(net.enabled) else x
    return x


def with_attributes(net, x):
    return x * (x.shape[0] * net.rows) + (net.rows * x.shape[0] - x.shape[0] // net.rows)


def decided(net, x):
    return x * 2 if x.shape[-1] > 10 else x


CODE = [decided, padded, windows, offsets, devices, numbers, resized, by_values_that_are_known, with_attributes]


@pytest.fixture
def chain(functional, randomise):
    def make(between):
        network = functional(
            lambda net, x: net.second(between(net, F.relu(net.first(x)))).mean((2, 3)),
            first=nn.Conv2d(3, 8, 3, padding=1),
            second=nn.Conv2d(8, 4, 3, padding=1),
        )
        network.register_buffer("enabled", torch.tensor(True))
        network.rows = 3
        return randomise(network)

    return make


@pytest.mark.parametrize("between", CODE)
def test_no_batch_size_and_no_width_stays_in_the_branches(chain, randomise_branches, between):
    network = chain(between)
    branched = randomise_branches(add_branches(network, X, keep=0.5))
    assert set(branched.plan.widths) == {"first"}
    small = fold(branched)
    for batch in (1, 2, 5):
        x = torch.randn(batch, *X.shape[1:], dtype=X.dtype)
        branched.set_alpha(1)
        torch.testing.assert_close(branched(x), network(x), rtol=1e-9, atol=1e-12)
        branched.set_alpha(0)
        torch.testing.assert_close(small(x), branched(x), rtol=1e-9, atol=1e-12)


def answer_or_refusal(branched, x):
    try:
        return branched(x)
    except NetworkError as error:
        return str(error)


@pytest.mark.parametrize("between", CODE)
@pytest.mark.parametrize("size", [(9, 12), (10, 12), (7, 5)])
def test_other_sizes_are_answered_rightly_or_refused_in_one_line(chain, between, size):
    network, x = chain(between), torch.randn(2, 3, *size, dtype=X.dtype)
    branched = add_branches(network, X, keep=0.5)
    answer = answer_or_refusal(branched, x)
    if isinstance(answer, str):
        assert size != (9, 12)
        assert "traced with inputs of another size" in answer
        assert f"{__file__}:" in answer
        assert "\n" not in answer
    else:
        torch.testing.assert_close(answer, network(x), rtol=1e-9, atol=1e-12)
    fold(branched)(x)  # the user's own forward


@pytest.mark.parametrize(
    "between",
    [
        lambda net, x: x * 2 if x.shape[1] > 4 else x,
        lambda net, x: sum(x for _ in range(x.shape[1])),
        lambda net, x: x.reshape(len(x), int(x.shape[1]), -1).view_as(x),
    ],
)
def test_what_decides_by_the_number_of_channels_keeps_it(chain, between):
    network = chain(between)
    assert not channel_groups(network, X)[0].prunable


@pytest.mark.parametrize(
    "between",
    [
        lambda net, x: x * float(x.mean()),
        lambda net, x: x * x.mean().item(),
        lambda net, x: x * 2 if (x > 0).any() else x,
        lambda net, x: x * float(net.second.bias[0]),
        lambda net, x: x * x[x > 0].sum(),
        lambda net, x: x + torch.from_numpy(x.numpy()),
    ],
)
def test_what_decides_by_values_is_refused_with_its_line(chain, between):
    with pytest.raises(NetworkError, match=r"Functional cannot be traced at ") as caught:
        channel_groups(chain(between), X)
    assert f"{__file__}:" in str(caught.value)
    assert "\n" not in str(caught.value)
