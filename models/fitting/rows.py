"""Channels as rows of numbers that come batch by batch: their sums, their products, and what is kept of themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .subset import gram


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
