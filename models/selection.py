"""Which channels stay, and how well they explain the others: greedy column subset selection and ridge least squares.

Everything is computed from Gram matrices G = Σ a aᵀ (C, C) over examples and positions, in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import NetworkError


class Selection(NamedTuple):
    """Channels in the order in which they were chosen.

    Attributes:
        order: (k,) channel indices.
        errors: (k + 1,) share of the energy Σ a² that the first 0, 1, … k channels leave unexplained.
    """

    order: Tensor
    errors: Tensor


def gram(x: Tensor, dim: int, width: int) -> Tensor:
    """G (C, C) of a tensor whose dimension `dim` holds `width` channels, each taking size/width consecutive places."""
    channels = by_channel(x, dim, width)
    return (channels @ channels.T).double()


def by_channel(x: Tensor, dim: int, width: int) -> Tensor:
    """One row for each channel, (C, examples and positions); half precision becomes float32 before it is summed up."""
    rows = x.unflatten(dim, (width, -1)).movedim(dim, 0).flatten(1)
    return rows.to(torch.promote_types(x.dtype, torch.float32))


def greedy_selection(G: Tensor, k: int) -> Selection:
    """Chooses k of C channels: each time the one that explains most of what is left.

    Explaining channel j reduces the residual Gram R by R[:, j] R[:, j]ᵀ / R[j, j], the energy by ‖R[:, j]‖² / R[j, j]
    (greedy column subset selection; Farahat, Ghodsi and Kamel, "An efficient greedy method for unsupervised feature
    selection", ICDM 2011). Channels that others explain already follow in the order of their index.

    Args:
        G: (C, C) Gram matrix.
        k: number of channels, 1 ≤ k ≤ C.

    Raises:
        NetworkError: if G holds a value that is not finite.
    """
    if not torch.isfinite(G).all():
        raise NetworkError("the network's activations are not finite on the data given: nothing can be fitted to them")
    R = G.double().clone()
    energy = R.diagonal().sum()
    floor = torch.finfo(R.dtype).eps * R.diagonal().max() * R.shape[0]
    order, errors, free = [], [1.0], torch.ones(R.shape[0], dtype=torch.bool, device=R.device)
    for _ in range(k):
        diagonal = R.diagonal()
        usable = free & (diagonal > floor)
        if usable.any():
            gain = torch.where(usable, R.square().sum(0) / diagonal.clamp(min=floor), -1.0)
            j = int(gain.argmax())
            R -= torch.outer(R[:, j], R[:, j] / R[j, j])
        else:
            j = int(free.nonzero()[0])
        free[j] = False
        order.append(j)
        errors.append(float(R.diagonal().clamp(min=0).sum() / energy) if energy > 0 else 0.0)
    return Selection(torch.tensor(order, device=G.device), torch.tensor(errors, dtype=torch.float64))


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
