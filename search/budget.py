"""From proposed shares to widths that meet the budget."""

from collections.abc import Mapping
from itertools import permutations

from ..errors import StudyError
from ..models.cost import CostModel
from ..models.widths import rounded_width
from ..studies.tables import Budget

_BISECTIONS = 40
_CLOSE = 0.99


def widths_for(keep: Mapping[str, float], costs: CostModel, budget: Budget) -> dict[str, int]:
    """The widths that the shares stand for; with a budget, all scaled alike until the network meets it.

    With a budget the shares count relative to each other: accuracies of equal cost can be compared. After scaling,
    channels are added one by one, where rounding took most away first, as long as the budget holds.

    Args:
        keep: group name → share of its channels, above 0; groups that are not named stay whole.
        costs: the network's cost model.
        budget: shares of the full network's cost.

    Raises:
        StudyError: if even one channel in every group costs more than the budget.
    """
    full = {group.name: group.width for group in costs.groups}
    if budget.macs is None and budget.parameters is None:
        return {name: rounded_width(share * full[name], full[name]) for name, share in keep.items()}
    least = relative_cost(dict.fromkeys(keep, 1), costs, budget)
    if least > 1:
        raise StudyError(
            f"study.budget = {_shown(budget)} cannot be met: with one channel in every group that can be narrowed "
            f"the network still costs {least:.2f} times as much; raise the budget"
        )
    low, high = 0.0, 1.0 / min(keep.values())
    for _ in range(_BISECTIONS):
        scale = (low + high) / 2
        if relative_cost(_scaled(keep, full, scale), costs, budget) <= 1:
            low = scale
        else:
            high = scale
    widths = _scaled(keep, full, low)
    by_loss = sorted(keep, key=lambda name: widths[name] - low * keep[name] * full[name])
    before: dict[str, int] = {}
    while widths != before:
        before = widths
        for name in by_loss:
            wider = {**widths, name: min(widths[name] + 1, full[name])}
            if relative_cost(wider, costs, budget) <= 1:
                widths = wider
    return _exchanged(widths, full, costs, budget)


def _exchanged(widths: dict[str, int], full: Mapping[str, int], costs: CostModel, budget: Budget) -> dict[str, int]:
    """Moves single channels from one group to another while that brings a small network's cost within 1 %."""
    spent = relative_cost(widths, costs, budget)
    while spent < _CLOSE:
        moved = [
            {**widths, a: widths[a] - 1, b: widths[b] + 1}
            for a, b in permutations(widths, 2)
            if widths[a] > 1 and widths[b] < full[b]
        ]
        fitting = [(cost, w) for w in moved if spent < (cost := relative_cost(w, costs, budget)) <= 1]
        if not fitting:
            break
        spent, widths = max(fitting, key=lambda pair: pair[0])
    return widths


def relative_cost(widths: Mapping[str, int], costs: CostModel, budget: Budget) -> float:
    """The cost in units of the budget, the tightest of its limits; at most 1 where all are met."""
    cost = costs.cost(widths)
    ratios = [
        spent / (limit * whole)
        for spent, limit, whole in zip(cost, (budget.macs, budget.parameters), costs.full, strict=True)
        if limit is not None
    ]
    return max(ratios)


def _scaled(keep: Mapping[str, float], full: Mapping[str, int], scale: float) -> dict[str, int]:
    return {name: rounded_width(scale * share * full[name], full[name]) for name, share in keep.items()}


def _shown(budget: Budget) -> str:
    limits = ", ".join(f"{key} = {limit}" for key, limit in budget.model_dump().items() if limit is not None)
    return f"{{ {limits} }}"
