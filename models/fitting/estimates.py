"""What P, the narrow statistics and E begin with, estimated from the values that flow: tensors in, tensors out.

Sums are taken in float64, batch after batch: the batches of a tensor need not be of one size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .subset import by_channel, ridge_least_squares

# Values of a channel that tell its variance to a third.
_ENOUGH = 16


def selector(chosen: Tensor, width: int, like: Tensor) -> Tensor:
    """P (k, C) that takes channels out: 1 at (i, chosen[i]), else 0; its transpose is the E that puts them back.

    Args:
        chosen: (k,) indices of channels.
        width: C.
        like: tensor whose dtype and device it gets.
    """
    P = like.new_zeros(len(chosen), width)
    P[torch.arange(len(chosen)), chosen.to(like.device)] = 1
    return P


def mean(batches: Sequence[Tensor], dim: int) -> Tensor:
    """Mean (C,) over examples and positions.

    Args:
        batches: (N, …, C at `dim`, …) each.
        dim: the channel dimension.
    """
    return _mean([by_channel(x, dim, x.shape[dim]) for x in batches])


def moments(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (C,) and unbiased variance (C,) over examples and positions, as a BatchNorm takes them.

    Args:
        batches: (N, C, *) each.
    """
    rows = [by_channel(x, 1, x.shape[1]) for x in batches]
    centre = _mean(rows)
    squares = torch.stack([(x.double() - centre[:, None]).square().sum(1) for x in rows]).sum(0)
    return centre, squares / max(_count(rows) - 1, 1)


def variance_of_few(batches: Sequence[Tensor], variance: Tensor, known: Tensor) -> Tensor:
    """The variance (C,) of few values, where what is known of it counts as one value more.

    Of two values the variance is often next to nothing by chance, and a BatchNorm multiplies all that it was not told
    of by its inverse root, one layer after the other, until rounding is all that is heard. From 16 values on it is
    taken as it is.

    Args:
        batches: (N, C, *) each.
        variance: (C,), unbiased, of the values.
        known: (C,), of the original's channels.
    """
    values = sum(x.numel() // x.shape[1] for x in batches)
    if values >= _ENOUGH:
        return variance
    return ((values - 1) * variance + known) / values


def expansion(
    wide: Sequence[Tensor], narrow: Sequence[Tensor], ridge: float, *, centred: bool, blocks: int = 1
) -> Tensor:
    """E (C, k), or its blocks (G, C / G, k / G), float64: ridge least squares from the narrow rows to the wide ones.

    Args:
        wide: A (C, n), the original's channels, of every batch.
        narrow: Z (k, n), what arrives at E in the same places.
        ridge: λ, in units of the mean energy of a narrow channel.
        centred: whether both are taken about their means over all batches.
        blocks: G, equal blocks of channels, of which each is told from its own alone.
    """
    if blocks > 1:
        pieces = (zip(*(x.chunk(blocks) for x in rows), strict=True) for rows in (wide, narrow))
        return torch.stack([expansion(a, z, ridge, centred=centred) for a, z in zip(*pieces, strict=True)])
    if centred:
        wide, narrow = _about_the_mean(wide), _about_the_mean(narrow)
    k, C = narrow[0].shape[0], wide[0].shape[0]
    ZZ = torch.zeros(k, k, dtype=torch.float64, device=narrow[0].device)
    AZ = torch.zeros(C, k, dtype=torch.float64, device=ZZ.device)
    for A, Z in zip(wide, narrow, strict=True):
        ZZ += Z @ Z.T
        AZ += A @ Z.T
    return ridge_least_squares(ZZ, AZ, ridge)


def _about_the_mean(rows: Sequence[Tensor]) -> list[Tensor]:
    """Rows (C, n) of every batch without their mean over all of them."""
    centre = _mean(rows)
    return [x - centre[:, None].to(x.dtype) for x in rows]


def _mean(rows: Sequence[Tensor]) -> Tensor:
    """Mean (C,), float64, of rows (C, n) of every batch."""
    return torch.stack([x.double().sum(1) for x in rows]).sum(0) / _count(rows)


def _count(rows: Sequence[Tensor]) -> int:
    return sum(x.shape[1] for x in rows)
