"""What a study keeps of its network's groups, and a trial of the shares that its groups really kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...models.branches.keep import rounded_width
from ...models.cost import CostModel
from ...studies.database.findings.groups import SENSITIVITY_AT, GroupRecord
from .recipe import Recipe


def group_records(costs: CostModel, errors: Mapping[str, Sequence[float]]) -> list[GroupRecord]:
    """The groups that can be narrowed.

    Args:
        costs: of the network.
        errors: group → its error at every width, 0 … C.
    """
    return [
        GroupRecord(
            name=group.name,
            width=group.width,
            resolution=tuple(group.resolution),
            saves=saved_by_half(costs, group.name, group.width),
            errors=tuple(
                float(errors[group.name][rounded_width(share * group.width, group.width, group.blocks)])
                for share in SENSITIVITY_AT
                if group.name in errors
            ),
        )
        for group in costs.groups
        if group.prunable
    ]


def saved_by_half(costs: CostModel, name: str, width: int) -> float:
    """The share of all MACs that go when a group keeps half of its channels."""
    return 1.0 - costs.cost({name: max(1, width // 2)}).macs / costs.full.macs


def kept_shares(recipe: Recipe, costs: CostModel) -> dict[str, float]:
    """A trial's attributes of what each group kept: `keep.*` is what was proposed, before the budget scaled it."""
    full = {group.name: group.width for group in costs.groups}
    return {f"kept.{name}": round(width / full[name], 4) for name, width in recipe.widths.items()}
