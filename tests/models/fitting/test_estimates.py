"""What branches begin with, against closed forms on batches of unequal size."""

import pytest
import torch

from branchfold.models.fitting.estimates import expansion, mean, moments, selector


def batches(*shape, dim=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (2, 5, 1)
    return [torch.randn(*shape[:dim], n, *shape[dim + 1 :], generator=generator, dtype=torch.float64) for n in sizes]


def test_a_selector_takes_channels_out_and_its_transpose_puts_them_back():
    P = selector(torch.tensor([3, 0]), 5, torch.zeros(1, dtype=torch.float32))
    assert P.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    y = torch.randn(5)
    assert torch.equal(P @ y, y[[3, 0]])
    assert torch.equal(P @ P.T, torch.eye(2))


def test_the_mean_is_over_all_but_the_channels():
    x = batches(0, 4, 3, 6, dim=0)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(mean(x, 1), torch.cat(x).mean((0, 2, 3)), **close)
    torch.testing.assert_close(mean(x, 3), torch.cat(x).mean((0, 1, 2)), **close)


def test_moments_are_those_that_torch_takes_over_all_batches():
    x = batches(0, 4, 3, 6)
    variance, centre = torch.var_mean(torch.cat(x), (0, 2, 3))
    torch.testing.assert_close(moments(x), (centre, variance), rtol=1e-12, atol=1e-12)
    single = [torch.randn(1, 4).double()]
    assert torch.equal(moments(single)[1], torch.zeros(4).double())  # one value has no variance


def test_an_expansion_is_the_ridge_solution():
    A, Z = batches(6, 0, dim=1), batches(3, 0, dim=1, seed=1)
    whole_A, whole_Z = torch.cat(A, 1) + 2, torch.cat(Z, 1) - 1
    A, Z = [a + 2 for a in A], [z - 1 for z in Z]
    for centred in (False, True):
        X, Y = (whole_Z, whole_A) if not centred else (w - w.mean(1, keepdim=True) for w in (whole_Z, whole_A))
        penalty = 0.1 * (X @ X.T).diagonal().mean()
        # Ridge as ordinary least squares on rows for the penalty.
        rows = torch.cat([X.T, penalty.sqrt() * torch.eye(3).double()])
        wanted = torch.linalg.lstsq(rows, torch.cat([Y.T, torch.zeros(3, 6).double()])).solution.T
        torch.testing.assert_close(expansion(A, Z, 0.1, centred=centred), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_channel_explains_nothing_by_its_rounding(dtype):
    """A norm over a single channel yields its bias, whose sums are not exactly a multiple of it."""
    constant = [torch.full((1, n), 0.42382563495, dtype=dtype) for n in (5, 3, 7)]
    constant[1] += torch.finfo(dtype).eps / 2
    wide = [torch.randn(4, n, dtype=dtype) for n in (5, 3, 7)]
    assert not expansion(wide, constant, 1e-4, centred=True).any()
