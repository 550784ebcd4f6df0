"""One trial whole, for the terminal: its recipe in words, its milestones with small charts, its widths as bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ....studies.characters import bar, sparkline
from ....studies.database.trials import trial_of
from ....studies.metric import Metric
from ....studies.tables.milestones import Milestone, milestones_of
from ....studies.tables.recipes import recipe_sentences
from ....studies.tables.study import StudyView
from ....studies.tables.trials import TrialLine, trial_lines
from ....studies.tables.widths import WidthRow, width_rows
from ....studies.tables.words import percent, seconds_text
from ..terminal import can_draw

_BAR = 20


def show_trial(view: StudyView, number: int, console: Console) -> None:
    """Prints a trial.

    Raises:
        StudyError: if there is none of this number.
    """
    trial = trial_of(view.study, number)
    line, milestones, widths = trial_lines(view)[number], milestones_of(trial), width_rows(view, trial)
    for text in _about(view, line, milestones):
        console.print(Text(text))
    blocks = can_draw(console)
    for part in (*_milestones(milestones, view.metric, blocks), *_widths(widths, blocks)):
        console.print()
        console.print(part)
    if line.measured:
        console.print(Text(f"\nbranchfold export {view.name} --trial {number}"))


def _about(view: StudyView, line: TrialLine, milestones: Sequence[Milestone]) -> Iterator[str]:
    yield f"trial {line.number} of {view.name}: {line.came_to}, {line.meaning}"
    if line.reason:
        yield f"why: {line.reason}"
    recipe = view.recipe(view.trials[line.number])
    if recipe is not None:
        compute = milestones[-1].compute if milestones else None
        yield from recipe_sentences(recipe, compute)
    if line.metric is not None:
        told = f" ({line.said})" if line.said else ""
        yield f"{view.metric.name} at α = 0: {view.metric.text(line.metric)}{told}"
    if line.measured:
        row = line.row
        unsure = ", unsure" if row.latency_unsure else ""
        yield (
            f"{line.macs:,} MACs ({percent(row.macs_share or 0)}), {line.parameters:,} parameters "
            f"({percent(row.parameters_share or 0)}), latency {line.latency:.3f} ms "
            f"({percent(row.latency_share or 0)}{unsure})"
        )
    if line.row.seconds is not None:
        yield f"it took {seconds_text(line.row.seconds)}"


def _milestones(milestones: Sequence[Milestone], metric: Metric, blocks: bool) -> Iterator[RenderableType]:
    if not milestones:
        return
    folded = [m.folded_metric for m in milestones if m.folded_metric is not None]
    alphas = [m.alpha for m in milestones if m.alpha is not None]
    if folded:
        label = f"{metric.name} at α = 0  "
        ends = metric.interval_text(min(folded), max(folded))
        lines = [f"{label}{sparkline(folded, blocks=blocks)}  {ends}"]
        if alphas:
            lines.append(f"{'α':<{len(label)}}{sparkline(alphas, low=0, high=1, blocks=blocks)}  1 to 0")
        yield Text("\n".join(lines))
    table = Table(title="milestones", title_justify="left")
    stages = max(len(m.alphas) for m in milestones)
    columns = [
        "",
        "compute",
        "α",
        *(["α of each stage"] if stages > 1 else []),
        metric.name,
        "at α = 0",
        "loss",
        "rate",
    ]
    for column in columns:
        table.add_column(column, justify="right")
    for m in milestones:
        table.add_row(
            str(m.number),
            _number(m.compute, ".2f"),
            _number(m.alpha, ".3f"),
            *([" ".join(f"{alpha:.2f}" for alpha in m.alphas)] if stages > 1 else []),
            "-" if m.metric is None else metric.text(m.metric),
            "-" if m.folded_metric is None else metric.text(m.folded_metric),
            _number(m.loss, ".4f"),
            _number(m.rate, ".2g"),
        )
    yield table


def _widths(rows: Sequence[WidthRow], blocks: bool) -> Iterator[RenderableType]:
    if not rows:
        return
    known = all(row.share is not None for row in rows)
    sensitive = any(row.sensitivity is not None for row in rows)
    table = Table(title="channels that stay", title_justify="left")
    table.add_column("group", overflow="fold")
    for column in ("stay", *(["of", "share"] if known else [])):
        table.add_column(column, justify="right")
    if known:
        table.add_column("")
    if sensitive:
        table.add_column("sensitivity", justify="right")
        table.caption, table.caption_justify = "sensitivity: error that half of the channels leave", "left"
    for row in rows:
        cells = [row.group, str(row.width)]
        if row.share is not None:
            cells += [str(row.full), percent(row.share), bar(row.share, _BAR, blocks=blocks)]
        if sensitive:
            cells.append("-" if row.sensitivity is None else percent(row.sensitivity))
        table.add_row(*cells)
    yield table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
