"""Which channels stay, and how well they explain the others: greedy column subset selection and ridge least squares.

Everything is computed from Gram matrices G = Σ a aᵀ (C, C) over examples and positions, in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import NetworkError


class Subset(NamedTuple):
    """Channels in the order in which they were chosen.

    Attributes:
        order: (k,) channel indices.
        errors: (k + 1,) share of the energy that the first 0, 1, … k channels leave unexplained.
    """

    order: Tensor
    errors: Tensor


def gram(rows: Tensor) -> Tensor:
    """G (C, C) of rows (C, examples and positions)."""
    return (rows @ rows.T).double()


def by_channel(x: Tensor, dim: int, width: int) -> Tensor:
    """One row for each channel, (C, examples and positions); half precision becomes float32 before it is summed up."""
    rows = x.unflatten(dim, (width, -1)).movedim(dim, 0).flatten(1)
    return rows.to(torch.promote_types(x.dtype, torch.float32))


def greedy_subset(G: Tensor, k: int, M: Tensor | None = None, blocks: int = 1) -> Subset:
    """The best k of C channels, chosen one after the other: each time the one that explains most of what is left.

    Explaining channel j takes r rᵀ / R[j, j], with r = R[:, j], off the residual Gram R, and rᵀ M r / R[j, j] off the
    energy tr(M R) (greedy column subset selection; Farahat, Ghodsi and Kamel, "An efficient greedy method for
    unsupervised feature selection", ICDM 2011, where M = 1). Channels that others explain already follow in the order
    of their index.

    Args:
        G: (C, C) Gram matrix.
        k: number of channels, 1 ≤ k ≤ C.
        M: (C, C), symmetric and positive semidefinite: how much an error counts in each direction; by default all
            alike.
        blocks: equal runs of channels, of which none gets another one before all have as many.

    Raises:
        NetworkError: if G holds a value that is not finite.
    """
    if not torch.isfinite(G).all():
        raise NetworkError("the network's activations are not finite on the data given: nothing can be fitted to them")
    R = G.double().clone()
    M = torch.eye(len(R), dtype=R.dtype, device=R.device) if M is None else M.to(R)
    total = float((M * R).sum())
    floor = torch.finfo(R.dtype).eps * R.diagonal().max() * R.shape[0]
    order, errors, free = [], [1.0], torch.ones(R.shape[0], dtype=torch.bool, device=R.device)
    heard = ((R @ M) * R).sum(1)  # rᵀ M r of every channel
    left = total
    for taken in range(k):
        if taken % blocks == 0:
            closed = torch.zeros_like(free).view(blocks, -1)
        diagonal = R.diagonal()
        open_ = free & ~closed.flatten()
        usable = open_ & (diagonal > floor)
        if usable.any():
            gain = torch.where(usable, heard / diagonal.clamp(min=floor), -1.0)
            j = int(gain.argmax())
            r, share = R[:, j].clone(), R[:, j] / R[j, j]
            Mr = M @ r
            left -= float(r @ Mr / R[j, j])
            heard = heard - 2 * share * (R @ Mr) + share.square() * (r @ Mr)
            R -= torch.outer(r, share)
        else:
            j = int(open_.nonzero()[0])
            left = 0.0
        free[j], closed[j // closed.shape[1]] = False, True
        order.append(j)
        errors.append(max(left, 0.0) / total if total > 0 else 0.0)
    return Subset(torch.tensor(order, device=G.device), torch.tensor(errors, dtype=torch.float64))


def ridge_least_squares(ZZ: Tensor, AZ: Tensor, ridge: float) -> Tensor:
    """E (C, k) that minimises ‖A − E Z‖² + λ‖E‖², with λ = `ridge` × the mean of ZZ's diagonal.

    Args:
        ZZ: (k, k), Z Zᵀ.
        AZ: (C, k), A Zᵀ.
        ridge: ≥ 0; above 0 also channels that never fire are allowed.
    """
    scale = ZZ.diagonal().mean()
    if scale <= 0:
        return torch.zeros_like(AZ)
    damped = ZZ + ridge * scale * torch.eye(ZZ.shape[0], dtype=ZZ.dtype, device=ZZ.device)
    return torch.linalg.solve(damped, AZ.T).T
