"""A network's channel groups as a table with bars, and the same as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from ....errors import NetworkError
from ....models.branches.keep import rounded_width
from ....models.cost import CostModel
from ....models.fitting.activations import sensitivity
from ....models.networks.factories import build_network, default_input_shape
from ....models.weights import fill, read_weights
from ....studies.characters import bar
from ....studies.database.findings.groups import SENSITIVITY_AT
from ....studies.tables.words import percent
from ...space.groups import saved_by_half


def inspection(
    model: str,
    arguments: dict[str, Any],
    input_shape: tuple[int, ...] | None,
    *,
    checkpoint: Path | None = None,
    examples: Tensor | None = None,
) -> dict[str, Any]:
    """A network's groups, costs and sensitivity in JSON types.

    Args:
        model: name of a reference network, `torchvision:NAME`, or the user's own factory.
        arguments: of the factory.
        input_shape: (C, H, W) of an example; needed where neither the name nor the examples tell it.
        checkpoint: weights of the network; a new one's are random.
        examples: (N, C, H, W) that sensitivity is measured on; it is left out without them.

    Raises:
        NetworkError: if the network cannot be built, filled or traced, or its input's shape is not known.
    """
    network = build_network(model, arguments)
    if checkpoint is not None:
        fill(network, read_weights(checkpoint), str(checkpoint), model)
    shape = input_shape or default_input_shape(model, arguments)
    if examples is not None:
        shape = tuple(examples.shape[1:])
    if shape is None:
        raise NetworkError(f"the shape of {model}'s input is not known: give it with --input, for example 3x224x224")
    costs = CostModel(network, torch.zeros(1, *shape))
    errors = {} if examples is None else sensitivity(network, examples[:2], examples)
    groups = []
    for group in costs.groups:
        groups.append(
            {
                "name": group.name,
                "width": group.width,
                "resolution": list(group.resolution),
                "writers": list(group.writers),
                "readers": list(group.readers),
                "prunable": group.prunable,
                "reason": group.reason,
                "attributes": list(group.attributes),
                "computed": list(group.computed),
                "blocks": group.blocks,
                "heads": group.heads,
                "macs_saved_by_half": saved_by_half(costs, group.name, group.width) if group.prunable else 0.0,
                "errors": errors[group.name].tolist() if group.name in errors else None,
            }
        )
    full = costs.full
    return {"model": model, "input": list(shape), "macs": full.macs, "parameters": full.parameters, "groups": groups}


_SAVES = "half saves: share of all MACs that go when the group keeps half of its channels"
_ERRORS = (
    "error at N %: share of what its readers make of the group that the best N % of the channels leave unexplained"
)
_HEADS = "width × heads: channels of one head, of which all heads keep the same"
# Narrower terminals see fewer columns.
_WIDE = 110
_BAR = 8


def groups_table(found: dict[str, Any], *, width: int = 160, blocks: bool = True) -> Table:
    """An inspection as a table, with bars for widths, what half of the channels saves, and what it loses.

    Args:
        found: by `inspection`.
        width: of the terminal; a narrow one leaves out who writes and reads a group.
        blocks: whether the terminal has block characters.
    """
    shape, groups = "×".join(map(str, found["input"])), found["groups"]
    measured = any(group["errors"] for group in groups)
    left_out = ["--json has the writers and readers of each group, too"] if width < _WIDE else []
    heads = [_HEADS] * any(group["heads"] > 1 for group in groups)
    table = Table(
        title=f"{found['model']}: input {shape}, {found['macs']:,} MACs, {found['parameters']:,} parameters",
        caption="; ".join([_SAVES, *([_ERRORS] if measured else []), *heads, *left_out]),
        title_justify="left",
        caption_justify="left",
    )
    columns = _columns(groups, measured, wide=width >= _WIDE, blocks=blocks)
    for title, right, _ in columns:
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in zip(*(texts for _, _, texts in columns), strict=True):
        table.add_row(*row)
    return table


def _columns(
    groups: list[dict[str, Any]], measured: bool, *, wide: bool, blocks: bool
) -> list[tuple[str, bool, list[str]]]:
    """Title, whether it stands right, and a text for each group."""
    prunable = [group["prunable"] for group in groups]
    widths = [group["width"] for group in groups]
    saves = [group["macs_saved_by_half"] for group in groups]
    halves = [_error(group, 0.5) for group in groups]
    columns: list[tuple[str, bool, list[str]]] = [
        ("group", False, [group["name"] for group in groups]),
        ("width", True, [_width(group) for group in groups]),
        ("", False, _bars([float(width) for width in widths], blocks)),
    ]
    if any(group["blocks"] > 1 for group in groups):
        columns.append(("multiple of", True, [str(group["blocks"]) for group in groups]))
    columns.append(("H×W", False, ["×".join(map(str, group["resolution"])) or "-" for group in groups]))
    if wide:
        columns += [(key, False, [_names(group[key]) for group in groups]) for key in ("writers", "readers")]
    told = [percent(share) if can else "-" for share, can in zip(saves, prunable, strict=True)]
    columns += [("half saves", True, told), ("", False, _bars(saves, blocks))]
    if measured:
        for share in SENSITIVITY_AT if wide else (0.5,):
            errors = [_error(group, share) for group in groups]
            texts = ["-" if error is None else percent(error) for error in errors]
            columns.append((f"error at {percent(share)}", True, texts))
            if share == 0.5:
                columns.append(("", False, _bars([half or 0.0 for half in halves], blocks)))
    for title, key in (("rewrites", "attributes"), ("weights held as they are", "computed")):
        if any(group[key] for group in groups):
            columns.append((title, False, [_names(group[key]) for group in groups]))
    if any(group["reason"] for group in groups):
        columns.append(("fixed because", False, [group["reason"] for group in groups]))
    return columns


def _width(group: dict[str, Any]) -> str:
    """The channels that a share is taken of; where they are one head's, how many heads hold them."""
    return f"{group['width']} × {group['heads']}" if group["heads"] > 1 else str(group["width"])


def _bars(values: list[float], blocks: bool) -> list[str]:
    largest = max(values, default=0.0) or 1.0
    return [bar(value / largest, _BAR, blocks=blocks) for value in values]


def _error(group: dict[str, Any], share: float) -> float | None:
    errors = group["errors"]
    if errors is None:
        return None
    return float(errors[rounded_width(share * group["width"], group["width"], group["blocks"])])


def _names(paths: list[str]) -> str:
    return ", ".join(paths) if len(paths) <= 3 else f"{paths[0]}, {paths[1]}, … ({len(paths)})"
