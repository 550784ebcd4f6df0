"""What is checked of a search space as soon as its network is known, before any data is."""

from math import lcm

from ...errors import StudyError, nearest
from ...models.branches.keep import rounded_width
from ...studies.definition.dimensions import Range, plain
from ...studies.definition.mistakes import shown
from ..schedules.checks import check_schedules
from .budget import relative_cost
from .proposal import SearchSpace

# Shares of the channels that an error proposes are rounded down to so many of 1.
_STEPS = 100


def check_space(space: SearchSpace) -> None:
    """Checks what only the schedules and the network can tell; the lines name the key and where it was written.

    Raises:
        StudyError: if a shape's parameter or a group is unknown, no group can be narrowed, or no widths meet the
            budget.
    """
    check_schedules(space.definition)
    if not space.full:
        reasons = "; ".join(f"{group.name}: {group.reason}" for group in space.costs.groups[:3])
        factory = space.definition.model.factory
        raise space.definition.mistake("model.factory", f"no channel group of {factory} can be narrowed ({reasons})")
    _check_groups(space)
    _check_multiple(space)
    try:
        space.widths(dict.fromkeys((group.name for group in space.free_groups()), 1.0))
    except StudyError as error:
        raise space.definition.mistake("study.budget", str(error)) from None


def check_budgeted(space: SearchSpace) -> None:
    """Checks that the range of shares that a new study's file gives has widths within its budget, unscaled.

    A single share everywhere stands for whichever share meets the budget.

    Raises:
        StudyError: if even the least shares cost more than the budget.
    """
    keep, budget = space.table.keep, space.definition.study.budget
    written = "range" in keep.model_fields_set
    if not written or not isinstance(keep.range, Range) or keep.range.low == keep.range.high:
        return
    if keep.per == "sensitivity" or (budget.macs is None and budget.parameters is None):
        return
    low, high = float(keep.range.low), float(keep.range.high)
    if (ratio := _cost_at(space, low)) <= 1:
        return
    fitting = [s / _STEPS for s in range(1, _STEPS) if s / _STEPS < low and _cost_at(space, s / _STEPS) <= 1]
    limits = shown(budget.model_dump(exclude_none=True, exclude={"latency"}))
    would = (
        f"lower the range to {{ low = {max(fitting)}, high = {high * max(fitting) / low:.2g} }}, or " if fitting else ""
    )
    raise space.definition.mistake(
        "space.keep.range",
        f"space.keep.range = {shown(plain(keep.range))} allows no network within study.budget = {limits}: its least "
        f"shares cost {ratio:.2f} times as much; {would}raise the budget",
    )


def _cost_at(space: SearchSpace, share: float) -> float:
    """The cost, in units of the budget, where every group keeps this share or the least that its bounds allow."""
    keep = space.table.keep
    blocks = {group.name: group.blocks for group in space.costs.groups}
    widths = {
        name: rounded_width(keep.layers.get(name, (share, share))[0] * full, full, lcm(keep.multiple, blocks[name]))
        for name, full in space.full.items()
    }
    return relative_cost(widths, space.costs, space.definition.study.budget)


def _check_groups(space: SearchSpace) -> None:
    for name in space.table.keep.layers:
        if name not in space.full:
            raise space.definition.mistake(
                f"space.keep.layers.{name}",
                f'space.keep.layers."{name}": no group that can be narrowed is called so'
                f"{nearest(name, space.full)} (known: {', '.join(space.full)})",
            )


def _check_multiple(space: SearchSpace) -> None:
    multiple = space.table.keep.multiple
    widest = max(space.full, key=lambda name: space.full[name])
    if multiple >= space.full[widest] > 1:
        raise space.definition.mistake(
            "space.keep.multiple",
            f"space.keep.multiple = {multiple} leaves every group as it is: the widest that can be narrowed, {widest}, "
            f"has {space.full[widest]} channels; take a smaller one, such as {min(8, space.full[widest] // 2)}",
        )
