"""Convolutions and linear layers contracted with P and E, and which contractions are not exact."""

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal

from branchfold.models.branches.folding.folding import fold_compress, fold_expand, fold_shift


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


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (1, 2, 3)])
def test_a_shift_folds_into_the_bias_of_a_reader(kernel):
    weight, bias, e = normal(5, 4, *kernel), normal(5, seed=1), normal(4, seed=2)
    x = normal(2, 4, *(6 + i for i in range(len(kernel))), seed=4)
    run = (F.linear, F.conv1d, F.conv2d, F.conv3d)[len(kernel)]
    shifted = run(x + e.view(-1, *(1,) * len(kernel)), weight, bias)
    assert_equal(run(x, weight, fold_shift(weight, bias, e)), shifted)


def test_a_shift_of_channels_behind_a_flatten_is_one_of_all_their_places():
    weight, bias, e, x = normal(5, 4 * 6), normal(5, seed=1), normal(4, seed=2), normal(7, 4, 2, 3, seed=3)
    shifted = F.linear((x + e.view(4, 1, 1)).flatten(1), weight, bias)
    assert_equal(F.linear(x.flatten(1), weight, fold_shift(weight, bias, e, span=6)), shifted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_folded_in_float32(dtype):
    weight, P, E = (x.to(dtype) for x in (normal(64, 200, 3, 3), normal(8, 64, seed=1), normal(200, 16, seed=2)))

    def assert_rounded_once(folded, exact):
        assert folded.dtype == dtype
        rounding = exact.abs() * torch.finfo(dtype).eps / 2  # of what float32 gives, whose own error is below 1e-4
        assert ((folded.double() - exact).abs() <= rounding + 1e-4).all()

    folded, _ = fold_compress(weight, None, P, None)
    assert_rounded_once(folded, torch.einsum("ab,bcij->acij", P.double(), weight.double()))
    assert_rounded_once(fold_expand(weight, E), torch.einsum("abij,bc->acij", weight.double(), E.double()))


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
