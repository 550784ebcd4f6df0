"""Tables for the terminal, and the same as JSON: a study's trials, a network's channel groups."""

from pathlib import Path
from typing import Any

import optuna
import torch
from rich.table import Table
from torch import Tensor

from ....errors import NetworkError
from ....models.branches.keep import rounded_width
from ....models.cost import CostModel
from ....models.fitting.activations import sensitivity
from ....models.networks.factories import build_network, default_input_shape
from ....models.weights import fill, read_weights
from ....studies.database.answers import Comparison, compare_with_best
from ....studies.database.companions import is_screening
from ....studies.database.rows import TrialRow, trial_rows
from ....studies.database.trials import metric_of
from ....studies.metric import Metric
from ....studies.statistics import SIGNIFICANCE
from ...run.screening import WIDTHS, ranked
from ...trial.baseline import baseline_ready
from .numbers import percent, with_interval

# Marks in the table of trials.
LIKE_BEST = "≈"
UNSURE = "?"
# States that a word alone does not tell.
_STATES = {
    "pruned": "pruned: stopped early",
    "fail": "fail: it failed, or was interrupted and is tried again under another number",
    "waiting": "waiting: queued, and tried if the study is to have more trials",
    "running": "running: until its process has given no heartbeat for 75 s",
}


def trials_values(study: optuna.Study) -> list[dict[str, Any]]:
    """One dictionary a trial; of a screening, its candidates with the best first.

    `best` marks the best trial, `like_best` those that the validation examples cannot tell from it, by their
    corrected `p_value`; both are None where that was not compared.
    """
    if is_screening(study):
        return [{"number": t.number, "loss": t.value, "widths": t.user_attrs[WIDTHS]} for t in ranked(study)]
    comparison = compare_with_best(study)
    name = {"metric_name": metric_of(study).name}
    return [{**row._asdict(), **name, **_compared(row.number, comparison)} for row in trial_rows(study)]


def _compared(number: int, comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        return {"best": None, "like_best": None, "p_value": None}
    return {
        "best": number == comparison.best,
        "like_best": comparison.is_like_the_best(number),
        "p_value": comparison.p_values.get(number),
    }


def trials_table(study: optuna.Study) -> Table:
    """A study's trials; the metric is that on the validation split, at α = 0."""
    if is_screening(study):
        return _candidates_table(study)
    comparison, rows, metric = compare_with_best(study), trial_rows(study), metric_of(study)
    caption = _caption(study.user_attrs.get("baseline"), metric, comparison, rows)
    table = Table(title=f"study {study.study_name}", caption=caption, title_justify="left", caption_justify="left")
    for column in (
        "trial",
        "state",
        metric.name,
        "",
        "MACs",
        "parameters",
        "latency",
        "schedule",
        "compute",
        "seconds",
    ):
        table.add_column(column, justify="left" if column in ("state", "", "schedule") else "right")
    for row in rows:
        table.add_row(
            str(row.number),
            row.state,
            # What a trial that was interrupted reported last is no result.
            "-" if row.metric is None or row.state == "fail" else metric.text(row.metric),
            _mark(row.number, comparison),
            _or_dash(row.macs_share),
            _or_dash(row.parameters_share),
            _latency(row),
            row.shape or "-",
            "-" if row.compute is None else f"{row.compute:.2f}",
            "-" if row.seconds is None else f"{row.seconds:.1f}",
        )
    return table


def _candidates_table(study: optuna.Study) -> Table:
    caption = "validation loss of the initialised, folded network, untrained; the best first"
    table = Table(title=f"study {study.study_name}", caption=caption, title_justify="left", caption_justify="left")
    table.add_column("candidate", justify="right")
    table.add_column("loss", justify="right")
    table.add_column("channels that stay", overflow="fold")
    for trial in ranked(study):
        widths = ", ".join(f"{name} {width}" for name, width in trial.user_attrs[WIDTHS].items())
        table.add_row(str(trial.number), f"{trial.value:.4f}", widths)
    return table


# Shares of a group's channels at which its sensitivity is shown.
SENSITIVITY_AT = (0.25, 0.5, 0.75)


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
                "attributes": list(group.attributes),
                "computed": list(group.computed),
                "blocks": group.blocks,
                "macs_saved_by_half": saved / costs.full.macs if group.prunable else 0.0,
                "errors": errors[group.name].tolist() if group.name in errors else None,
            }
        )
    full = costs.full
    return {"model": model, "input": list(shape), "macs": full.macs, "parameters": full.parameters, "groups": groups}


_SAVES = "half saves: share of all MACs that go when the group keeps half of its channels"
_ERRORS = (
    "error at N %: share of what its readers make of the group that the best N % of the channels leave unexplained"
)


def groups_table(found: dict[str, Any]) -> Table:
    """An inspection as a table."""
    shape = "×".join(map(str, found["input"]))
    measured = any(group["errors"] for group in found["groups"])
    table = Table(
        title=f"{found['model']}: input {shape}, {found['macs']:,} MACs, {found['parameters']:,} parameters",
        caption="; ".join([_SAVES, _ERRORS] if measured else [_SAVES]),
        title_justify="left",
        caption_justify="left",
    )
    shares = list(SENSITIVITY_AT) if measured else []
    sensitivities = [f"error at {percent(share)}" for share in shares]
    lies_in_blocks = any(group["blocks"] > 1 for group in found["groups"])
    told = {"rewrites": "attributes", "weights held as they are": "computed"}
    told = {column: key for column, key in told.items() if any(group[key] for group in found["groups"])}
    for column in (
        "group",
        "width",
        *(["multiple of"] if lies_in_blocks else []),
        "H×W",
        "writers",
        "readers",
        "half saves",
        *sensitivities,
        *told,
        "fixed because",
    ):
        right = column in ("width", "multiple of", "half saves", *sensitivities)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for group in found["groups"]:
        table.add_row(
            group["name"],
            str(group["width"]),
            *([str(group["blocks"])] if lies_in_blocks else []),
            "×".join(map(str, group["resolution"])) or "-",
            _names(group["writers"]),
            _names(group["readers"]),
            percent(group["macs_saved_by_half"]) if group["prunable"] else "-",
            *(_error_at(group, share) for share in shares),
            *(_names(group[key]) for key in told.values()),
            group["reason"],
        )
    return table


def _error_at(group: dict[str, Any], share: float) -> str:
    errors = group["errors"]
    return (
        "-"
        if errors is None
        else percent(errors[rounded_width(share * group["width"], group["width"], group["blocks"])])
    )


def _names(paths: list[str]) -> str:
    return ", ".join(paths) if len(paths) <= 3 else f"{paths[0]}, {paths[1]}, … ({len(paths)})"


def _or_dash(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _mark(number: int, comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return "best" if number == comparison.best else LIKE_BEST * bool(comparison.is_like_the_best(number))


def _latency(row: TrialRow) -> str:
    spread = "" if row.latency_spread is None else f" ({100 * row.latency_spread:.1f})"
    return f"{_or_dash(row.latency_share)}{spread}{f' {UNSURE}' * bool(row.latency_unsure)}"


def _caption(
    baseline: dict[str, Any] | None, metric: Metric, comparison: Comparison | None, rows: list[TrialRow]
) -> str:
    if baseline is None:
        return f"{metric.name} at α = 0 on the validation split; no baseline yet"
    ready = baseline_ready(baseline, metric)
    lines = [
        f"{metric.name} at α = 0 on the {ready.examples} validation examples; compute in epochs of the baseline's "
        f"training; baseline {with_interval(metric, ready.metric, ready.interval)}, {baseline['macs']:,} MACs, "
        f"{baseline['parameters']:,} parameters"
    ]
    if comparison is not None and comparison.p_values:
        lines.append(
            f"{LIKE_BEST}: these examples cannot tell it from the best, trial {comparison.best} ({comparison.test}, "
            f"p ≥ {SIGNIFICANCE:.2f} by Holm's correction for {len(comparison.p_values)} trials)"
        )
    if any(row.latency_spread is not None for row in rows):
        text = "latency: median share of the baseline's (interquartile range in points), one example on one thread"
        unsure = f"; {UNSURE}: unsure, it spreads more than it differs from what it is compared with"
        lines.append(text + unsure * any(row.latency_unsure for row in rows))
    states = {row.state for row in rows}
    lines += [meaning for state, meaning in _STATES.items() if state in states]
    return "\n".join(lines)
