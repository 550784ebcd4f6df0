from itertools import combinations

import pytest
import torch
from comparing import normal

from branchfold.errors import NetworkError
from branchfold.models.fitting.subset import by_channel, gram, greedy_subset, ridge_least_squares


def activations(channels, examples=60, seed=0):
    """Correlated channels of different size."""
    scale = 0.2 + torch.arange(channels, dtype=torch.float64)
    return (normal(channels, channels, seed=seed) @ normal(channels, examples, seed=seed + 1)) * scale[:, None]


def residual_share(A, chosen, W=None):
    """Share of ‖W A‖² that least squares from the chosen rows leave, by torch's QR-based solver on the data itself."""
    if not chosen:
        return 1.0
    Z = A[list(chosen)].T
    W = torch.eye(len(A), dtype=A.dtype) if W is None else W
    residual = A.T - Z @ torch.linalg.lstsq(Z, A.T).solution
    return float((W @ residual.T).square().sum() / (W @ A).square().sum())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("outputs", [None, 1, 3, 20])
def test_each_channel_chosen_explains_most_of_what_is_left(seed, outputs):
    A = activations(7, seed=10 * seed)
    W = None if outputs is None else normal(outputs, 7, seed=100 + seed)
    order, errors = greedy_subset(A @ A.T, 7, None if W is None else W.T @ W)
    chosen = []
    for j in order.tolist():
        shares = {i: residual_share(A, [*chosen, i], W) for i in range(7) if i not in chosen}
        assert j == min(shares, key=shares.get)
        chosen.append(j)
    expected = [residual_share(A, chosen[:i], W) for i in range(8)]
    torch.testing.assert_close(errors, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_channels_that_nobody_hears_come_last_however_loud():
    A = torch.linalg.qr(normal(40, 6)).Q.T * torch.tensor([1, 90, 2, 80, 70, 3.0]).double()[:, None]
    W = normal(4, 6, seed=3)
    W[:, [1, 3, 4]] = 0
    order, errors = greedy_subset(A @ A.T, 6, W.T @ W)
    assert set(order[:3].tolist()) == {0, 2, 5}
    assert errors[2] > 1e-3
    assert (errors[3:] < 1e-12).all()
    assert greedy_subset(A @ A.T, 3).order.tolist() == [1, 3, 4]


def test_a_channel_that_nobody_hears_is_chosen_for_those_that_it_explains():
    cause, noise = normal(1, 50), normal(4, 50, seed=1)
    A = torch.cat([noise[:2] + 3 * cause, cause, noise[2:] + 3 * cause])
    W = torch.diag(torch.tensor([1.0, 1, 0, 1, 1])).double()
    assert greedy_subset(A @ A.T, 1, W).order.tolist() == [2]


def test_readers_that_hear_nothing_need_no_channels():
    G = activations(4) @ activations(4).T
    order, errors = greedy_subset(G, 3, torch.zeros(4, 4))
    assert len(set(order.tolist())) == 3
    assert errors.tolist() == [1, 0, 0, 0]


def test_a_channel_that_stands_for_many_comes_before_a_stronger_one_on_its_own():
    # Four equal channels of energy 1, and one of energy 3 that is orthogonal to them.
    G = torch.block_diag(torch.ones(4, 4), torch.tensor([[3.0]])).double()
    order, errors = greedy_subset(G, 2)
    assert order.tolist() == [0, 4]
    torch.testing.assert_close(errors, torch.tensor([1, 3 / 7, 0]).double())


def test_greedy_is_close_to_the_best_of_all_subsets():
    A = activations(7)
    for W in (torch.eye(7, dtype=torch.float64), normal(4, 7, seed=5)):
        best = min(residual_share(A, subset, W) for subset in combinations(range(7), 3))
        assert best * (1 - 1e-9) <= greedy_subset(A @ A.T, 3, W.T @ W).errors[-1] <= 1.5 * best


def test_errors_fall_from_one_to_zero():
    A = activations(9)
    order, errors = greedy_subset(A @ A.T, 9)
    assert sorted(order.tolist()) == list(range(9))
    assert errors[0] == 1
    assert (errors.diff() < 0).all()
    assert errors[-1] < 1e-12


def test_a_shorter_selection_is_the_beginning_of_a_longer_one():
    G = activations(8) @ activations(8).T
    long, short = greedy_subset(G, 8), greedy_subset(G, 3)
    assert torch.equal(long.order[:3], short.order)
    assert torch.equal(long.errors[:4], short.errors)


def test_the_matrices_given_are_not_changed():
    G, M = activations(4) @ activations(4).T, activations(4, seed=7) @ activations(4, seed=7).T
    before = G.clone(), M.clone()
    greedy_subset(G, 4, M)
    assert torch.equal(G, before[0])
    assert torch.equal(M, before[1])


def test_duplicates_and_dead_channels_come_last_in_order_of_index():
    A = activations(3)
    # Channel 1 is dead, 3 and 5 are multiples of others, 0, 2 and 4 are independent.
    rows = torch.stack([A[0], 0 * A[0], A[1], -0.5 * A[0], A[2], 0.3 * A[1]])
    order, errors = greedy_subset(rows @ rows.T, 6)
    assert sorted(order[:3].tolist()) in ([0, 2, 4],)
    assert order[3:].tolist() == [1, 3, 5]
    assert (errors[3:] < 1e-12).all()
    assert sorted(order.tolist()) == list(range(6))


def test_channels_of_any_scale_are_chosen():
    for scale in (1e-12, 1e12):
        A, M = activations(5) * scale, torch.eye(5) / scale
        order, errors = greedy_subset(A @ A.T, 5, M)
        torch.testing.assert_close(errors, greedy_subset(activations(5) @ activations(5).T, 5).errors)
        assert len(set(order.tolist())) == 5


def test_silent_activations_leave_no_error():
    order, errors = greedy_subset(torch.zeros(4, 4), 2)
    assert order.tolist() == [0, 1]
    assert errors.tolist() == [1, 0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_refused(value):
    G = torch.eye(3)
    G[1, 2] = value
    with pytest.raises(NetworkError, match="not finite"):
        greedy_subset(G, 2)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_gram_of_a_tensor_is_the_sum_of_outer_products(dim):
    x = normal(2, 6, 6, 6)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for rows in x.movedim(dim, 1).reshape(2, 3, 2, 36).permute(0, 2, 3, 1).reshape(-1, 3):
        expected += torch.outer(rows, rows)
    torch.testing.assert_close(gram(by_channel(x, dim, 3)), expected, rtol=1e-12, atol=1e-12)


def test_half_precision_is_summed_in_float32():
    x = (1 + normal(50, 4, 9, 11).abs()).to(torch.bfloat16)
    G = gram(by_channel(x, 1, 4))
    rows = x.double().movedim(1, 0).flatten(1)
    assert G.dtype == torch.float64
    assert ((G - rows @ rows.T).abs() < 1e-5 * G).all()
    assert by_channel(x, 1, 4).dtype == torch.float32


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.5])
def test_ridge_least_squares_against_torch(ridge):
    A, Z = normal(6, 50), normal(3, 50, seed=1)
    A = A + normal(6, 3, seed=2) @ Z
    E = ridge_least_squares(Z @ Z.T, A @ Z.T, ridge)
    # ‖A − E Z‖² + λ‖E‖² is plain least squares with √λ·1 as further examples.
    damping = (ridge * Z.square().sum() / 3).sqrt() * torch.eye(3, dtype=torch.float64)
    expected = torch.linalg.lstsq(
        torch.cat([Z, damping], 1).T, torch.cat([A, torch.zeros(6, 3, dtype=torch.float64)], 1).T
    ).solution.T
    assert E.shape == (6, 3)
    torch.testing.assert_close(E, expected, rtol=1e-9, atol=1e-12)


def test_ridge_least_squares_takes_channels_that_never_fire():
    Z = normal(3, 20)
    Z[1] = 0
    A = normal(4, 20, seed=1)
    E = ridge_least_squares(Z @ Z.T, A @ Z.T, 1e-6)
    assert torch.equal(E[:, 1], torch.zeros(4, dtype=torch.float64))
    expected = torch.linalg.lstsq(Z[[0, 2]].T, A.T).solution.T
    torch.testing.assert_close(E[:, [0, 2]], expected, rtol=1e-4, atol=1e-5)
    silent = torch.zeros(3, 3, dtype=torch.float64)
    assert torch.equal(
        ridge_least_squares(silent, torch.zeros(4, 3, dtype=torch.float64), 0.0), torch.zeros(4, 3).double()
    )


@pytest.mark.parametrize("blocks", [2, 3])
def test_every_block_gets_a_channel_before_any_gets_another(blocks):
    A = activations(6)
    A[-2:] *= 100  # both in the last block
    order, errors = greedy_subset(A @ A.T, 6, None, blocks)
    for i in range(0, 6, blocks):
        assert sorted(j // (6 // blocks) for j in order[i : i + blocks].tolist()) == [*range(blocks)]
    chosen = []
    for i, j in enumerate(order.tolist()):
        open_ = {*range(blocks)} - {c // (6 // blocks) for c in chosen[i - i % blocks :]}
        shares = {
            c: residual_share(A, [*chosen, c]) for c in range(6) if c not in chosen and c // (6 // blocks) in open_
        }
        assert j == min(shares, key=shares.get)
        chosen.append(j)
        assert errors[i + 1] == pytest.approx(residual_share(A, chosen), abs=1e-12)


def test_silent_channels_are_taken_from_every_block():
    assert greedy_subset(torch.zeros(6, 6), 4, None, 2).order.tolist() == [0, 3, 1, 4]
