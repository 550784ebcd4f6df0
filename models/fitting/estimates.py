"""What P, the narrow statistics and E begin with, estimated from the values that flow: tensors in, tensors out.

Sums are taken in float64, batch after batch: the batches of a tensor need not be of one size.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .subset import by_channel, gram, ridge_least_squares

# Values of a channel that tell its variance to a third.
_ENOUGH = 16
# Units in the last place of a mean, up to which a value that lies beside it is the same.
_ROUNDING = 8


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
    """Mean (C,), float64, over examples and positions.

    Args:
        batches: (N, …, C at `dim`, …) each.
        dim: the channel dimension.
    """
    return _mean([by_channel(x, dim, x.shape[dim]) for x in batches])


def moments(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (C,) and unbiased variance (C,), float64, over examples and positions, as a BatchNorm takes them.

    Args:
        batches: (N, C, *) each.
    """
    rows = [by_channel(x, 1, x.shape[1]) for x in batches]
    near = _mean(rows).to(rows[0].dtype)[:, None]
    totals, squares, count = torch.zeros(()), torch.zeros(()), _count(rows)
    for x in rows:
        left = x - near
        totals = totals + left.sum(1).double()
        squares = squares + left.square_().sum(1).double()
    return near[:, 0].double() + totals / count, (squares - totals.square() / count).clamp(min=0) / max(count - 1, 1)


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
    wide: Sequence[Tensor],
    narrow: Sequence[Tensor],
    ridge: float,
    *,
    centred: bool,
    blocks: int = 1,
    shifts: Sequence[Tensor] | None = None,
) -> Tensor:
    """E (C, k), or its blocks (G, C / G, k / G), float64: ridge least squares from the narrow rows to the wide ones.

    Args:
        wide: A (C, n), the original's channels, of every batch.
        narrow: Z (k, n), what arrives at E in the same places.
        ridge: λ, in units of the mean energy of a narrow channel.
        centred: whether both are taken about their means over all batches.
        blocks: G, equal blocks of channels, of which each is told from its own alone.
        shifts: (C,) of every batch: what was taken off its rows A before.
    """
    if blocks > 1:
        pieces = [zip(*(x.chunk(blocks) for x in rows), strict=True) for rows in (wide, narrow, shifts or ())]
        found = itertools.zip_longest(*pieces)
        return torch.stack([expansion(a, z, ridge, centred=centred, shifts=s) for a, z, s in found])
    if centred:  # the wide rows need not be: their mean meets rows whose sum is 0
        narrow = _about_the_mean(narrow)
    k, C = narrow[0].shape[0], wide[0].shape[0]
    ZZ = torch.zeros(k, k, dtype=torch.float64, device=narrow[0].device)
    AZ = torch.zeros(C, k, dtype=torch.float64, device=ZZ.device)
    for i, (A, Z) in enumerate(zip(wide, narrow, strict=True)):
        ZZ += Z @ Z.T
        AZ += A @ Z.T
        if shifts is not None:
            AZ += torch.outer(shifts[i].double(), Z.sum(1).double())
    return ridge_least_squares(ZZ, AZ, ridge)


def _about_the_mean(rows: Sequence[Tensor]) -> list[Tensor]:
    """Rows (C, n) of every batch without their mean over all of them; what is left by rounding alone is 0.

    A channel that is constant would else explain the others by its rounding, multiplied by 10¹⁶.
    """
    centre = _mean(rows)
    found = []
    for x in rows:
        near = centre[:, None].to(x.dtype)
        left = x - near
        rounding = _ROUNDING * torch.finfo(x.dtype).eps * near.abs()
        found.append(left.masked_fill_(left.abs() <= rounding, 0))
    return found


def _mean(rows: Sequence[Tensor]) -> Tensor:
    """Mean (C,), float64, of rows (C, n) of every batch."""
    return torch.stack([x.sum(1).double() for x in rows]).sum(0) / _count(rows)


def _count(rows: Sequence[Tensor]) -> int:
    return sum(x.shape[1] for x in rows)


class Rows:
    """Rows (C, n) of every batch, about a shift: the first batch's mean, since their own precision may be low.

    Attributes:
        shift: (C,) what was taken off each row, in the rows' dtype.
        totals: (C,), float64: the sums of what is left.
        products: (C, C), float64: the products of what is left; None where they were not asked for.
        count: columns of all batches.
        batches: what is left of each batch (C, n); empty where it is not held.
    """

    def __init__(self, *, products: bool, held: bool) -> None:
        self.shift = self.totals = torch.zeros(())
        self.products = torch.zeros((), dtype=torch.float64) if products else None
        self.count, self.held = 0, held
        self.batches: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Adds a batch's rows (C, n)."""
        if not self.count:
            self.shift = rows.double().mean(1).to(rows.dtype)
            self.totals = torch.zeros_like(self.shift, dtype=torch.float64)
        left = rows - self.shift[:, None]
        self.count += left.shape[1]
        # Little is left to sum up: torch's own sums, by halves, are as good as float64 and many times quicker.
        self.totals = self.totals + left.sum(1).double()
        if self.products is not None:
            self.products = self.products + gram(left)
        if self.held:
            self.batches.append(left)

    def mean(self) -> Tensor:
        """The mean (C,), float64, of the rows as they came."""
        return self.shift.double() + self.totals / self.count

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(batch.nbytes for batch in self.batches)

    def release(self) -> None:
        """Holds nothing any more but the sums."""
        self.held = False
        self.batches.clear()


def joint_mean(rows: Sequence[Rows]) -> Tensor:
    """The mean (C,), float64, of all rows together."""
    total = torch.stack([each.count * each.mean() for each in rows]).sum(0)
    return total / sum(each.count for each in rows)


def joint_gram(rows: Sequence[Rows], *, centred: bool) -> Tensor:
    """Σ (a − mean) (a − mean)ᵀ (C, C), float64, of all rows together, or Σ a aᵀ.

    Args:
        rows: of the same channels, with their products.
        centred: whether about the mean of them all.
    """
    base = rows[0].shift.double()
    products, totals, count = torch.zeros((), dtype=torch.float64), torch.zeros_like(base), 0
    for each in rows:
        assert each.products is not None
        products = products + _moved(each.products, each.totals, each.shift.double() - base, each.count)
        totals = totals + each.totals + each.count * (each.shift.double() - base)
        count += each.count
    if centred:
        return products - torch.outer(totals, totals) / count
    return _moved(products, totals, base, count)


def _moved(products: Tensor, totals: Tensor, by: Tensor, count: int) -> Tensor:
    """Products (C, C) of `count` columns whose sums are `totals` (C,), after `by` (C,) was added to each column."""
    mixed = torch.outer(by, totals)
    return products + mixed + mixed.T + count * torch.outer(by, by)
