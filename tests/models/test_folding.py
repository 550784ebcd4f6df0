import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.folding import fold_compress, fold_expand


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(actual, expected):
    """Relative to the largest value: 1e-9."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max()))


@pytest.fixture
def at_zero(randomise_branches):
    """A network with random branches, at α = 0, and its fold."""

    def make(network, inputs, keep=0.5):
        branched = randomise_branches(add_branches(network, inputs, keep=keep, init="kaiming"))
        branched.set_alpha(0)
        return branched, fold(branched)

    return make


# The functions


def test_compress_that_selects_takes_rows():
    weight, P = normal(5, 4, 3, 2), torch.eye(5, dtype=torch.float64)[[3, 0, 3]]
    folded, bias = fold_compress(weight, None, P, None)
    assert bias is None
    assert torch.equal(folded, weight[[3, 0, 3]])
    for almost in (P * 2, P - torch.eye(3, 5), torch.zeros(3, 5)):  # each row's largest, or their number, is another
        folded, _ = fold_compress(weight, None, almost.double(), None)
        assert_equal(folded, torch.einsum("ab,bcde->acde", almost.double(), weight))


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (1, 2, 3)])
@pytest.mark.parametrize("biases", ["both", "layer", "compress", "none"])
def test_compress_folds_into_a_writer(kernel, biases):
    weight, P = normal(5, 4, *kernel), normal(3, 5, seed=1)
    bias = normal(5, seed=2) if biases in ("both", "layer") else None
    p = normal(3, seed=3) if biases in ("both", "compress") else None
    x = normal(2, 4, *(6 + i for i in range(len(kernel))), seed=4)
    run = (F.linear, F.conv1d, F.conv2d, F.conv3d)[len(kernel)]
    y = torch.einsum("kc,nc...->nk...", P, run(x, weight, bias))
    if p is not None:
        y = y + p.view(-1, *(1,) * len(kernel))
    folded, shift = fold_compress(weight, bias, P, p)
    assert folded.shape == (3, 4, *kernel)
    assert (shift is None) is (biases == "none")
    assert_equal(run(x, folded, shift), y)


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (1, 2, 3)])
def test_expand_folds_into_a_reader(kernel):
    weight, E = normal(5, 4, *kernel), normal(4, 3, seed=1)
    z = normal(2, 3, *(6 + i for i in range(len(kernel))), seed=4)
    run = (F.linear, F.conv1d, F.conv2d, F.conv3d)[len(kernel)]
    folded = fold_expand(weight, E)
    assert folded.shape == (5, 3, *kernel)
    assert_equal(run(z, folded), run(torch.einsum("ck,nk...->nc...", E, z), weight))


def test_expand_folds_into_a_linear_reader_behind_a_flatten():
    weight, E = normal(5, 4 * 6), normal(4, 3, seed=1)
    z = normal(7, 3, 2, 3, seed=2)
    folded = fold_expand(weight, E, span=6)
    assert folded.shape == (5, 3 * 6)
    assert_equal(z.flatten(1) @ folded.T, torch.einsum("ck,nkhw->nchw", E, z).flatten(1) @ weight.T)


def test_half_precision_is_folded_in_float32():
    weight, P, E = normal(64, 200, 3, 3), normal(8, 64, seed=1), normal(200, 16, seed=2)
    for dtype in (torch.bfloat16, torch.float16):
        w, narrow, wide = weight.to(dtype), P.to(dtype), E.to(dtype)
        exact = torch.einsum("ab,bcij->acij", narrow.double(), w.double())
        folded, _ = fold_compress(w, None, narrow, None)
        assert folded.dtype == dtype
        assert torch.equal(folded, exact.float().to(dtype)) or (folded.double() - exact).norm() < 3e-3 * exact.norm()
        exact = torch.einsum("abij,bc->acij", w.double(), wide.double())
        assert fold_expand(w, wide).dtype == dtype
        assert (fold_expand(w, wide).double() - exact).norm() < 3e-3 * exact.norm()


# The report's question: which einsum?


def test_with_a_3x3_compress_neither_contraction_is_the_composition():
    x, W, P = normal(2, 5, 9, 11), normal(4, 5, 3, 3, seed=1), normal(3, 4, 3, 3, seed=2)
    true = F.conv2d(F.conv2d(x, W, padding=1), P, padding=1)
    for contraction, sizes in (("abcd,befg->aefg", (3, 5, 3, 3)), ("abcd,befg->aecd", (3, 5, 3, 3))):
        contracted = torch.einsum(contraction, P, W)
        assert contracted.shape == sizes
        wrong = F.conv2d(x, contracted, padding=1)
        # Not even far from the border, where padding plays no part.
        assert (wrong - true)[:, :, 2:-2, 2:-2].abs().mean() > 0.5 * true.abs().mean()


def test_two_3x3_kernels_compose_to_a_5x5_one_but_not_at_a_padded_border():
    x, W, P = normal(2, 5, 9, 11), normal(4, 5, 3, 3, seed=1), normal(3, 4, 3, 3, seed=2)
    # K = Σ_b P[a, b] ∗ W[b, e]: cross-correlations compose by true convolution of their kernels.
    K = F.conv2d(W.transpose(0, 1), P.flip(2, 3), padding=2).transpose(0, 1)
    assert K.shape == (3, 5, 5, 5)
    assert_equal(F.conv2d(x, K), F.conv2d(F.conv2d(x, W), P))
    true = F.conv2d(F.conv2d(x, W, padding=1), P, padding=1)
    composed = F.conv2d(x, K, padding=2)
    assert_equal(composed[:, :, 1:-1, 1:-1], true[:, :, 1:-1, 1:-1])
    border = torch.ones(9, 11, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (composed - true)[:, :, border].abs().mean() > 0.05 * true.abs().mean()


@pytest.mark.parametrize(
    "options", [{"padding": 1}, {"stride": 2, "padding": (2, 0)}, {"padding": "same", "dilation": 2}]
)
def test_with_a_1x1_compress_the_first_contraction_is_exact(options):
    x, W, P = normal(2, 5, 9, 11), normal(4, 5, 3, 3, seed=1), normal(3, 4, 1, 1, seed=2)
    folded = torch.einsum("abcd,befg->aefg", P, W)
    assert_equal(F.conv2d(x, folded, **options), F.conv2d(F.conv2d(x, W, **options), P))
    assert torch.allclose(folded, fold_compress(W, None, P[:, :, 0, 0], None)[0], rtol=1e-12)
    assert torch.einsum("abcd,befg->aecd", P, W).shape == (3, 5, 1, 1)


def test_an_expand_with_a_bias_before_a_zero_padded_convolution_cannot_be_folded():
    z, E, e = normal(2, 3, 7, 9), normal(5, 3, seed=1), normal(5, seed=2)
    W, b = normal(4, 5, 3, 3, seed=3), normal(4, seed=4)
    expanded = torch.einsum("ck,nkhw->nchw", E, z)
    true = F.conv2d(expanded + e.view(-1, 1, 1), W, b, padding=1)
    folded = F.conv2d(z, fold_expand(W, E), b + torch.einsum("ocij,c->o", W, e), padding=1)
    assert_equal(folded[:, :, 1:-1, 1:-1], true[:, :, 1:-1, 1:-1])
    border = torch.ones(7, 9, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (folded - true).abs()[:, :, border].mean() > 0.05 * true.abs().mean()
    # Without the bias: everywhere.
    assert_equal(F.conv2d(z, fold_expand(W, E), b, padding=1), F.conv2d(expanded, W, b, padding=1))


# Whole networks


@pytest.mark.parametrize("training", [False, True])
def test_the_fold_is_the_branched_network_at_alpha_zero(example, at_zero, training):
    branched, small = at_zero(example.network, example.inputs)
    assert not torch.allclose(small(example.inputs), example.network(example.inputs), rtol=1e-2)
    branched.train(training)
    small.train(training)
    for _ in range(2):
        assert_equal(small(example.inputs), branched(example.inputs))
    # In training the running statistics move alike.
    assert_equal(small.eval()(example.inputs), branched.eval()(example.inputs))


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9])
def test_every_width_folds(example, at_zero, keep):
    branched, small = at_zero(example.network, example.inputs, keep)
    assert_equal(small(example.inputs), branched(example.inputs))
    found = {group.name: group.width for group in channel_groups(small, example.inputs)}
    for group in channel_groups(example.network, example.inputs):
        if group.prunable and not (keep == 0.01 and example.name in ("mobile", "conv1d")):
            # A depthwise convolution one channel wide is an ordinary convolution, and its own writer.
            assert found[group.name] == max(1, round(keep * group.width))


def test_single_groups_fold(example, at_zero):
    for group in channel_groups(example.network, example.inputs):
        if group.prunable:
            branched, small = at_zero(example.network, example.inputs, {group.name: 0.6})
            assert list(branched.alpha) == [group.name]
            assert_equal(small(example.inputs), branched(example.inputs))


def test_one_group_folds_while_another_is_still_fading(example, at_zero):
    """α of the others does not matter: the fold is the network at α = 0 for all."""
    branched, _ = at_zero(example.network, example.inputs)
    at_zero_output = branched(example.inputs)
    branched.set_alpha(0.7)
    state = copy.deepcopy(branched.state_dict())
    assert_equal(fold(branched)(example.inputs), at_zero_output)
    assert set(branched.alpha.values()) == {0.7}
    assert all(torch.equal(value, state[name]) for name, value in branched.state_dict().items())


def test_the_folded_network_is_the_users_own(example, at_zero):
    network = example.network
    _, small = at_zero(network, example.inputs)
    assert type(small) is type(network)
    assert list(small.state_dict()) == list(network.state_dict())
    assert [name for name, _ in small.named_modules()] == [name for name, _ in network.named_modules()]
    for (name, mine), theirs in zip(small.named_modules(), network.modules(), strict=True):
        assert type(mine) is type(theirs), name
        assert getattr(mine, "inplace", None) == getattr(theirs, "inplace", None), name
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())


def test_attributes_agree_with_the_weights(example, at_zero):
    _, small = at_zero(example.network, example.inputs)
    for name, module in small.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            expected = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            assert tuple(module.weight.shape) == expected, name
            assert module.bias is None or module.bias.shape == (module.out_channels,), name
            before = example.network.get_submodule(name)
            assert (module.groups == 1) is (before.groups == 1)
            assert module.groups in (1, module.in_channels)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            shapes = {tensor.shape for tensor in (module.weight, module.bias, module.running_mean, module.running_var)}
            assert shapes == {(module.num_features,)}, name
        elif isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features), name
        elif isinstance(module, nn.PReLU):
            assert module.weight.shape == (module.num_parameters,), name
        assert all(tensor.is_contiguous() for tensor in module.state_dict().values())


def test_the_attributes_that_repr_shows_are_new(make_example, at_zero):
    _, network, inputs = make_example("mobile")
    _, small = at_zero(network, inputs, {"expand": 4, "down": 2})
    text = repr(small)
    assert "(expand): Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1), bias=False)" in text
    assert "(expand_bn): BatchNorm2d(4, " in text
    assert "(depthwise): Conv2d(4, 4, kernel_size=(3, 5), stride=(2, 1), padding=(1, 2), groups=4)" in text
    assert "(down): Conv2d(4, 2, " in text
    assert "(project): Conv2d(4, 6, " in text


def test_the_folded_network_trains(example, at_zero):
    _, small = at_zero(example.network, example.inputs)
    small.train()
    before = copy.deepcopy(small.state_dict())
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01)
    small(example.inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape and p.is_leaf for p in small.parameters())
    optimizer.step()
    assert any(not torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_the_fold_shares_nothing_with_the_branched_network(example, at_zero):
    branched, small = at_zero(example.network, example.inputs)
    before = branched(example.inputs)
    with torch.no_grad():
        for tensor in small.state_dict().values():
            tensor.add_(1)
    assert torch.equal(branched(example.inputs), before)


PADDINGS = [
    {"padding": "same"},
    {"padding": "same", "dilation": (2, 1)},
    {"padding": "valid", "stride": 2},
    {"padding": 2, "stride": (1, 3)},
    {"padding": (0, 2), "dilation": (1, 2)},
    {"padding": (2, 1), "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "replicate", "stride": 2},
    {"padding": (1, 2), "padding_mode": "circular"},
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", PADDINGS)
def test_strides_paddings_and_dilations_fold_on_both_sides(at_zero, randomise, options, bias):
    network = randomise(
        nn.Sequential(
            nn.Conv2d(2, 7, (3, 5), bias=bias, **options),
            nn.PReLU(7),
            nn.Conv2d(7, 7, (2, 3), groups=7, bias=bias, padding=(1, 0)),
            nn.Softplus(),
            nn.Conv2d(7, 5, (5, 3), bias=bias, **options),
            nn.ELU(inplace=True),
            nn.Conv2d(5, 3, 1),
        )
    )
    x = normal(2, 2, 14, 19)
    branched, small = at_zero(network, x)
    assert list(branched.alpha) == ["0", "4"]
    assert small(x).shape == network(x).shape
    assert_equal(small(x), branched(x))


def test_in_place_flags_come_back_where_they_were(functional, at_zero, randomise):
    network = functional(
        lambda net, x: net.last(net.relu(net.norm(net.first(x))) + net.keep(net.skip(x))),
        first=nn.Conv2d(3, 6, 3),
        norm=nn.BatchNorm2d(6),
        relu=nn.ReLU(inplace=True),
        skip=nn.Conv2d(3, 6, 3),
        keep=nn.ReLU6(),
        last=nn.Conv2d(6, 2, 1),
    )
    x = normal(2, 3, 6, 7)
    branched, small = at_zero(randomise(network), x)
    assert not branched.network.relu.inplace
    assert small.relu.inplace
    assert not small.keep.inplace
    assert_equal(small(x), branched(x))


def test_a_batch_norm_without_parameters_or_statistics_folds(functional, at_zero, randomise):
    for options in ({"affine": False}, {"track_running_stats": False}, {"affine": False, "track_running_stats": False}):
        network = randomise(
            nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, **options), nn.ReLU(), nn.Conv2d(6, 2, 3))
        )
        x = normal(4, 3, 7, 9)
        branched, small = at_zero(network, x)
        assert_equal(small(x), branched(x))
        assert small[1].num_features == 3
        fitted = add_branches(network, x, keep=0.5)
        fitted.set_alpha(0)
        assert_equal(fold(fitted)(x), fitted(x))


def test_the_same_tensor_concatenated_twice_folds(functional, at_zero, randomise):
    network = functional(
        lambda net, x: net.last(torch.cat([y := torch.relu(net.first(x)), net.other(x), y], 1)),
        first=nn.Conv2d(3, 6, 3),
        other=nn.Conv2d(3, 4, 3),
        last=nn.Conv2d(16, 2, 3),
    )
    x = normal(2, 3, 6, 7)
    for keep in (0.5, {"first": 0.5}, {"other": 0.5}):
        branched, small = at_zero(randomise(network), x, keep)
        assert_equal(small(x), branched(x))


# Random networks


class Program(nn.Module):
    """A network that runs a list of steps over a growing pool of tensors."""

    def __init__(self, layers, steps):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = steps

    def forward(self, x):
        pool = [x]
        for kind, sources, which in self.steps:
            values = [pool[i] for i in sources]
            if kind == "layer":
                pool.append(self.layers[which](*values))
            elif kind == "add":
                pool.append(values[0] + which * values[1])
            elif kind == "mul":
                pool.append(values[0] * torch.sigmoid(values[1]))
            elif kind == "cat":
                pool.append(torch.cat(values, 1))
            else:
                pool.append(F.pad(values[0], which))
        return pool[-1]


@st.composite
def programs(draw):
    """A random network and its inputs; every tensor that could be fed into another may be."""
    channels = st.integers(2, 5)
    shapes = [(3, draw(st.integers(6, 11)), draw(st.integers(6, 11)))]
    layers, steps = [], []

    def add(kind, sources, which, layer=None):
        if layer is not None:
            layers.append(layer)
            which = len(layers) - 1
        steps.append((kind, sources, which))
        program = Program(copy.deepcopy(layers), list(steps)).eval()
        shapes.append(tuple(program(torch.zeros(1, *shapes[0])).shape[1:]))

    def convolution(source, kernel):
        _, h, w = shapes[source]
        padding = draw(st.sampled_from([0, 1, (1, 0), (0, 2), "same"]))
        kernel = (min(kernel[0], h), min(kernel[1], w))
        if padding == "same":  # torch warns of even kernels
            kernel = tuple(1 if size == 2 else size for size in kernel)
        stride = 1 if padding == "same" else draw(st.sampled_from([1, 1, 2, (1, 2)]))
        mode = draw(st.sampled_from(["zeros", "zeros", "circular"])) if padding in (0, 1) else "zeros"
        return {
            "kernel_size": kernel,
            "stride": stride,
            "padding": padding,
            "padding_mode": mode,
            "bias": draw(st.booleans()),
        }

    kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))
    activations = st.sampled_from(
        [nn.ReLU(inplace=True), nn.Tanh(), nn.LeakyReLU(0.1), nn.SiLU(inplace=True), nn.PReLU()]
    )
    add("layer", [0], None, nn.Conv2d(3, draw(channels), 3, padding=1))
    for _ in range(draw(st.integers(2, 9))):
        last = len(shapes) - 1
        source = draw(st.integers(max(1, last - 3), last))
        c, h, w = shapes[source]
        alike = [i for i in range(1, last + 1) if shapes[i] == shapes[source]]
        aligned = [i for i in range(1, last + 1) if shapes[i][1:] == (h, w)]
        kind = draw(st.sampled_from(["conv", "conv", "norm", "act", "depthwise", "pool", "add", "mul", "cat", "pad"]))
        if kind == "conv":
            layer = nn.Conv2d(c, draw(channels), **convolution(source, draw(kernels)))
            add("layer", [source], None, layer)
        elif kind == "norm":
            add("layer", [source], None, nn.BatchNorm2d(c))
        elif kind == "act":
            add("layer", [source], None, copy.deepcopy(draw(activations)))
        elif kind == "depthwise":
            add("layer", [source], None, nn.Conv2d(c, c, groups=c, **convolution(source, draw(kernels))))
        elif kind == "pool" and min(h, w) >= 2:
            layer = draw(st.sampled_from([nn.MaxPool2d(2, stride=1), nn.AvgPool2d((2, 1)), nn.MaxPool2d(3, 2, 1)]))
            add("layer", [source], None, copy.deepcopy(layer))
        elif kind in ("add", "mul"):
            which = draw(st.sampled_from([1.0, -0.5])) if kind == "add" else None
            add(kind, [source, draw(st.sampled_from(alike))], which)
        elif kind == "cat" and c <= 10:
            add("cat", [source, draw(st.sampled_from(aligned))], None)
        elif kind == "pad":
            add("pad", [source], draw(st.sampled_from([(1, 0), (0, 1, 2, 0)])))
    c, h, w = shapes[-1]
    if draw(st.booleans()):
        add("layer", [len(shapes) - 1], None, nn.Conv2d(c, 3, 1))
    else:
        add("layer", [len(shapes) - 1], None, nn.Flatten())
        layers.append(nn.Linear(c * h * w, 3))
        steps.append(("layer", [len(shapes) - 1], len(layers) - 1))
    return Program(layers, steps), torch.Size((3, *shapes[0]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(program=programs(), keep=st.sampled_from([0.2, 0.5, 0.8]), training=st.booleans())
def test_random_networks_fold_exactly(program, keep, training, randomise, randomise_branches):
    network, shape = program
    network, x = randomise(network).train(training), normal(*shape)
    with torch.no_grad():
        branched = randomise_branches(add_branches(network, x, keep=keep, init="kaiming"))
        assert_equal(branched(x), network(x))
        branched.set_alpha(0)
        small = fold(branched)
        assert_equal(small(x), branched(x))
        assert list(small.state_dict()) == list(network.state_dict())
        if branched.plan.widths:
            fewer = sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
            assert fewer
        fitted = add_branches(network.eval(), x, keep=keep)
        assert_equal(fitted(x), network(x))
        fitted.set_alpha(0)
        assert_equal(fold(fitted)(x), fitted(x))


def test_a_fold_shares_no_memory_with_the_branches(randomise):
    network = randomise(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 2, 1))
    )
    branched = add_branches(network, normal(2, 3, 7, 9), keep={"0": 0.5, "3": 0.5}, init="kaiming")
    for groups in (None, ["0"], ["3"]):
        small = fold(branched, groups)
        theirs = {tensor.data_ptr() for tensor in (*branched.parameters(), *branched.buffers())}
        assert not any(tensor.data_ptr() in theirs for tensor in (*small.parameters(), *small.buffers()))


def test_both_orders_of_compress_and_expand_are_exact(randomise, at_zero):
    """More channels before a layer than after it, and the reverse: P first, and E first."""
    inputs = normal(2, 3, 7, 9)
    widths = (3, 20, 4, 16, 2)
    network = randomise(nn.Sequential(*(nn.Conv2d(a, b, (3, 1), padding=1) for a, b in pairwise(widths))))
    branched, small = at_zero(network, inputs)
    assert_equal(small(inputs), branched(inputs))
