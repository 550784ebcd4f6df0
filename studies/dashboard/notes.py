"""The notes that optuna-dashboard shows of a study and of its trials, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from ..characters import bar, sparkline
from ..database.optuna_internals import study_id_of, trial_id_of
from ..tables.delivered import how_sure, won
from ..tables.milestones import Milestone, milestones_of
from ..tables.recipes import recipe_sentences
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.widths import WidthRow, width_rows
from ..tables.words import count, listed, percent, with_interval

# The files of a trial's figures.
COURSE, WIDTHS = "course.svg", "widths.svg"
# The last line of a note of ours: one that ends otherwise is somebody's own, and stays.
MARK = "*Kept up to date by branchfold.*"
_MOST_ON_FRONT = 12
_BAR = 16


def study_note(view: StudyView, lines: Sequence[TrialLine]) -> str:
    """What was asked, the baseline, what was found, and the commands to go on."""
    parts = [f"# {plain(view.name)}", _asked(view), _baseline(view), _found(view, lines), *_front(view, lines)]
    states = Counter(line.state for line in lines)
    parts.append(f"Trials: {listed([f'{number} {state}' for state, number in states.items()]) or 'none yet'}.")
    if view.outcome is not None:
        sure = how_sure(view.outcome, view.metric)
        parts.append(f"**Delivered** {plain(won(view.outcome, view.metric))}. How sure: {sure}.")
    parts.append(
        _fenced(
            f"branchfold run {view.name}      # goes on, or ends it with an export\n"
            f"branchfold export {view.name}   # the network as a file, judged on the test split\n"
            f"branchfold report {view.name}   # all of it as one page"
        )
    )
    return "\n\n".join([*filter(None, parts), MARK])


def trial_note(view: StudyView, line: TrialLine, files: Mapping[str, str] | None = None) -> str:
    """A trial's recipe in words, its milestones and widths as figures, how it compares, and how to take it.

    Args:
        view: of the study.
        line: the trial's.
        files: its artifacts by their file names; without its figures they are charts of characters.
    """
    trial = view.trials[line.number]
    milestones, recipe = milestones_of(trial), view.recipe(trial)
    parts = [f"**{line.came_to}**, {line.meaning}{': ' + plain(line.reason) if line.reason else ''}"]
    if line.metric is not None:
        parts.append(f"{view.metric.name} at α = 0: **{view.metric.text(line.metric)}**, {line.said}.")
    if line.measured:
        row = line.row
        parts.append(
            f"{percent(row.macs_share or 0)} of the MACs, {percent(row.parameters_share or 0)} of the parameters, "
            f"{percent(row.latency_share or 0)} of the latency{' (unsure)' if row.latency_unsure else ''}."
        )
    if recipe is not None:
        parts.append("\n".join(f"- {plain(each)}" for each in recipe_sentences(recipe, line.row.compute)))
    figures = {name: _address(view, trial, files[name]) for name in (COURSE, WIDTHS) if files and name in files}
    if COURSE in figures:
        parts.append(f"![{view.metric.name} at α = 0 and α, over compute]({figures[COURSE]})")
    else:
        parts += _course(view, milestones)
    if WIDTHS in figures:
        parts.append(f"![channels that stay of each group]({figures[WIDTHS]})")
    else:
        parts += _widths([row for row in width_rows(view, trial) if row.share is not None])
    if line.measured:
        parts.append(f"`branchfold export {view.name} --trial {line.number}`")
    return "\n\n".join([*parts, MARK])


def _address(view: StudyView, trial: FrozenTrial, artifact: str) -> str:
    """Where the dashboard serves a trial's artifact."""
    return f"/artifacts/{study_id_of(view.study)}/{trial_id_of(trial)}/{artifact}"


def _course(view: StudyView, milestones: Sequence[Milestone]) -> list[str]:
    folded = [m.folded_metric for m in milestones if m.folded_metric is not None]
    alphas = [m.alpha for m in milestones if m.alpha is not None]
    if len(folded) < 2:
        return []
    label = f"{view.metric.name} at α = 0  "
    chart = [f"{label}{sparkline(folded)}  {view.metric.interval_text(min(folded), max(folded))}"]
    if alphas:
        chart.append(f"{'α':<{len(label)}}{sparkline(alphas, low=0, high=1)}  1 to 0")
    return [_fenced("\n".join(chart))]


def _widths(rows: Sequence[WidthRow]) -> list[str]:
    if not rows:
        return []
    widest = max(len(row.group) for row in rows)
    told = [(f"{row.group:<{widest}}", f"{row.width} of {row.full}", bar(row.share or 0, _BAR)) for row in rows]
    return [_fenced("\n".join(f"{group}  {kept:>12}  {share}" for group, kept, share in told))]


def plain(text: str) -> str:
    """Text that Markdown and the HTML in it leave as it is, in one line."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in ("[", "]", "*", "_", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _asked(view: StudyView) -> str:
    definition = view.definition
    if definition is None:
        return "Made by another version of branchfold."
    budget = {k: v for k, v in definition.study.budget.model_dump().items() if v is not None}
    limits = listed([f"{percent(share)} of the {plain(name)}" for name, share in budget.items()])
    within = f" within {limits}" if limits else ""
    return (
        f"Asked: the best {listed([plain(name) for name in definition.study.objectives])} of "
        f"{plain(definition.model.factory)} "
        f"on {plain(definition.data.name)}{within}, in {count(definition.study.trials, 'trial')}."
    )


def _baseline(view: StudyView) -> str:
    if view.baseline is None:
        return "Baseline: not there yet."
    found = view.baseline
    return (
        f"Baseline ({plain(found.source)}): {with_interval(view.metric, found.metric, found.interval)} on "
        f"{found.examples} validation examples, {found.macs:,} MACs, {found.parameters:,} parameters."
    )


def _found(view: StudyView, lines: Sequence[TrialLine]) -> str:
    best = next((line for line in lines if line.best), None)
    if best is None:
        return "Best so far: none within the budget has ended."
    like = sum(bool(line.like_best) for line in lines if not line.best)
    level = f" {count(like, 'other trial')} cannot be told from it." if like else ""
    return (
        f"Best so far: **trial {best.number}, {view.metric.text(best.metric or 0)}** at "
        f"{percent(best.row.macs_share or 0)} of the MACs ({plain(best.recipe or '')}).{level}"
    )


def _front(view: StudyView, lines: Sequence[TrialLine]) -> list[str]:
    front = sorted((line for line in lines if line.front), key=lambda line: line.row.macs_share or 0.0)
    if len(front) < 2:
        return []
    rows = [
        f"| {line.number} | {view.metric.text(line.metric or 0)} | {percent(line.row.macs_share or 0)} | "
        f"{percent(line.row.parameters_share or 0)} |"
        for line in front[:_MOST_ON_FRONT]
    ]
    more = [f"{len(front) - _MOST_ON_FRONT} more are on it."] if len(front) > _MOST_ON_FRONT else []
    head = [f"| front: trial | {view.metric.name} | MACs | parameters |", "| --- | --- | --- | --- |"]
    return ["\n".join([*head, *rows]), *more]


def _fenced(text: str) -> str:
    return f"```\n{text.replace('```', '` ` `')}\n```"
