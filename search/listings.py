"""Tables for the terminal, and the same as JSON: a study's trials, a network's channel groups."""

from typing import Any

import optuna
import torch
from rich.table import Table

from ..errors import NetworkError
from ..models.cost import CostModel
from ..models.factories import build_network, default_input_shape
from ..studies.trials import trial_rows
from .progress import percent


def trials_values(study: optuna.Study) -> list[dict[str, Any]]:
    """One dictionary a trial."""
    return [row._asdict() for row in trial_rows(study)]


def trials_table(study: optuna.Study) -> Table:
    """A study's trials; accuracies are those on the validation split, at α = 0."""
    baseline = study.user_attrs.get("baseline")
    table = Table(title=f"study {study.study_name}", caption=_caption(study, baseline), title_justify="left")
    for column in ("trial", "state", "accuracy", "MACs", "parameters", "schedule", "epochs", "seconds"):
        table.add_column(column, justify="left" if column in ("state", "schedule") else "right")
    for row in trial_rows(study):
        table.add_row(
            str(row.number),
            row.state,
            _or_dash(row.accuracy),
            _or_dash(row.macs_share),
            _or_dash(row.parameters_share),
            row.shape or "-",
            str(row.epochs),
            "-" if row.seconds is None else f"{row.seconds:.1f}",
        )
    return table


def inspection(model: str, arguments: dict[str, Any], input_shape: tuple[int, ...] | None) -> dict[str, Any]:
    """A network's groups and costs in JSON types.

    Args:
        model: name of a reference network, `torchvision:NAME`, or the user's own factory.
        arguments: of the factory.
        input_shape: (C, H, W) of an example; needed where the name does not tell it.

    Raises:
        NetworkError: if the network cannot be built or traced, or its input's shape is not known.
    """
    network = build_network(model, arguments)
    shape = input_shape or default_input_shape(model, arguments)
    if shape is None:
        raise NetworkError(f"the shape of {model}'s input is not known: give it with --input, for example 3x224x224")
    costs = CostModel(network, torch.zeros(1, *shape))
    groups = []
    for group in costs.groups:
        saved = costs.full.macs - costs.cost({group.name: max(1, group.width // 2)}).macs
        groups.append(
            {
                "name": group.name,
                "width": group.width,
                "resolution": list(group.resolution),
                "writers": list(group.writers),
                "readers": list(group.readers),
                "prunable": group.prunable,
                "reason": group.reason,
                "macs_saved_by_half": saved / costs.full.macs if group.prunable else 0.0,
            }
        )
    full = costs.full
    return {"model": model, "input": list(shape), "macs": full.macs, "parameters": full.parameters, "groups": groups}


def groups_table(found: dict[str, Any]) -> Table:
    """An inspection as a table."""
    shape = "×".join(map(str, found["input"]))
    table = Table(
        title=f"{found['model']}: input {shape}, {found['macs']:,} MACs, {found['parameters']:,} parameters",
        caption="half saves: share of all MACs that go when the group keeps half of its channels",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("group", "width", "H×W", "writers", "readers", "half saves", "fixed because"):
        table.add_column(column, justify="right" if column in ("width", "half saves") else "left", overflow="fold")
    for group in found["groups"]:
        table.add_row(
            group["name"],
            str(group["width"]),
            "×".join(map(str, group["resolution"])) or "-",
            _names(group["writers"]),
            _names(group["readers"]),
            percent(group["macs_saved_by_half"]) if group["prunable"] else "-",
            group["reason"],
        )
    return table


def _names(paths: list[str]) -> str:
    return ", ".join(paths) if len(paths) <= 3 else f"{paths[0]}, {paths[1]}, … ({len(paths)})"


def _or_dash(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _caption(study: optuna.Study, baseline: dict[str, Any] | None) -> str:
    if baseline is None:
        return "accuracy at α = 0 on the validation split; no baseline yet"
    return (
        f"accuracy at α = 0 on the {baseline['examples']} validation examples; "
        f"baseline {percent(baseline['accuracy'])}, {baseline['macs']:,} MACs, {baseline['parameters']:,} parameters"
    )
