"""From proposed shares to widths that meet the budget."""

import math
from collections.abc import Mapping
from itertools import permutations

from ...errors import StudyError
from ...models.branches.keep import rounded_width
from ...models.cost import CostModel
from ...studies.definition.keys import Budget

_BISECTIONS = 40
_CLOSE = 0.99

Bounds = Mapping[str, tuple[float, float]]


def widths_for(
    keep: Mapping[str, float],
    costs: CostModel,
    budget: Budget,
    *,
    bounds: Bounds | None = None,
    multiple: int = 1,
) -> dict[str, int]:
    """The widths that the shares stand for; with a budget, all scaled alike until the network meets it.

    With a budget the shares count relative to each other: accuracies of equal cost can be compared. After scaling,
    channels are added one by one, where rounding took most away first, as long as the budget holds.

    Args:
        keep: group name → share of its channels, above 0; groups that are not named stay whole.
        costs: the network's cost model.
        budget: shares of the full network's cost.
        bounds: group name → least and greatest share of its channels, which scaling keeps.
        multiple: widths are multiples of this many channels, but for those at a bound; and of the group's blocks.

    Raises:
        StudyError: if even the least channels in every group cost more than the budget.
    """
    return _Scaling(keep, costs, budget, bounds or {}, multiple).widths()


def relative_cost(widths: Mapping[str, int], costs: CostModel, budget: Budget) -> float:
    """The cost in units of the budget, the tightest of its limits; at most 1 where all are met."""
    cost = costs.cost(widths)
    ratios = [
        spent / (limit * whole)
        for spent, limit, whole in zip(cost, (budget.macs, budget.parameters), costs.full, strict=True)
        if limit is not None
    ]
    return max(ratios)


class _Scaling:
    """Shares of one network under one budget."""

    def __init__(
        self, keep: Mapping[str, float], costs: CostModel, budget: Budget, bounds: Bounds, multiple: int
    ) -> None:
        self.costs, self.budget, self.multiple = costs, budget, multiple
        full = {group.name: group.width for group in costs.groups}
        self.exact = {name: share * full[name] for name, share in keep.items()}
        self.highest_scale = 1.0 / min(keep.values(), default=1.0)
        self.full = full
        self.blocks = {group.name: group.blocks for group in costs.groups}
        ends = {name: bounds.get(name, (0.0, 1.0)) for name in keep}
        self.least = {n: max(1, math.ceil(self._in_blocks(n, low))) * self.blocks[n] for n, (low, _) in ends.items()}
        most = {n: math.floor(self._in_blocks(n, high)) * self.blocks[n] for n, (_, high) in ends.items()}
        self.most = {n: max(self.least[n], most[n]) for n in keep}

    def widths(self) -> dict[str, int]:
        """The widths that meet the budget; those of the shares as they are where there is none."""
        if self.budget.macs is None and self.budget.parameters is None:
            return self._scaled(1.0)
        narrowest = self._scaled(0.0)
        least = self._relative(narrowest)
        if least > 1:
            channels = "one channel" if max(narrowest.values()) == 1 else "the least channels"
            raise StudyError(
                f"study.budget = {self._shown()} cannot be met: with {channels} in every group that can be narrowed "
                f"the network still costs {least:.2f} times as much; raise the budget"
            )
        low, high = 0.0, self.highest_scale
        for _ in range(_BISECTIONS):
            scale = (low + high) / 2
            if self._relative(self._scaled(scale)) <= 1:
                low = scale
            else:
                high = scale
        return self._exchanged(self._filled(self._scaled(low), low))

    def _in_blocks(self, name: str, share: float) -> float:
        """A share of a group's channels as channels of each of its blocks; 0.3 × 10 is 3, not a little more."""
        return round(share * self.full[name] / self.blocks[name], 9)

    def _scaled(self, scale: float) -> dict[str, int]:
        return {
            name: self._bounded(name, rounded_width(scale * exact, self.full[name], self._step(name)))
            for name, exact in self.exact.items()
        }

    def _step(self, name: str) -> int:
        return math.lcm(self.multiple, self.blocks[name])

    def _bounded(self, name: str, width: int) -> int:
        return min(self.most[name], max(self.least[name], width))

    def _filled(self, widths: dict[str, int], scale: float) -> dict[str, int]:
        by_loss = sorted(widths, key=lambda name: widths[name] - scale * self.exact[name])
        before: dict[str, int] = {}
        while widths != before:
            before = widths
            for name in by_loss:
                wider = {**widths, name: self._bounded(name, widths[name] + self._step(name))}
                if self._relative(wider) <= 1:
                    widths = wider
        return widths

    def _exchanged(self, widths: dict[str, int]) -> dict[str, int]:
        """Moves channels from one group to another while that brings a small network's cost within 1 %.

        They are single ones, or one of each block.
        """
        spent = self._relative(widths)
        while spent < _CLOSE and self.multiple == 1:
            moved = [
                {**widths, a: widths[a] - self.blocks[a], b: widths[b] + self.blocks[b]}
                for a, b in permutations(widths, 2)
                if widths[a] > self.least[a] and widths[b] < self.most[b]
            ]
            fitting = [(cost, w) for w in moved if spent < (cost := self._relative(w)) <= 1]
            if not fitting:
                break
            spent, widths = max(fitting, key=lambda pair: pair[0])
        return widths

    def _relative(self, widths: Mapping[str, int]) -> float:
        return relative_cost(widths, self.costs, self.budget)

    def _shown(self) -> str:
        limits = self.budget.model_dump(exclude_none=True, exclude={"latency"})
        return "{ " + ", ".join(f"{name} = {limit}" for name, limit in limits.items()) + " }"
