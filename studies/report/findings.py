"""The sections of a report between its answer and its trials: what the figures show, in sentences from the numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scipy.stats import spearmanr

from ..database.trials import trial_of
from ..figures import course, history, importances, parameters, schedules, screening, stages, widths
from ..tables import screening as screening_table
from ..tables.importances import LEAST_TRIALS, Evaluator, Importance
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.words import count, listed, percent
from .document import Section

# Fewer groups' correlation says nothing.
_LEAST_GROUPS = 5
_MOST_PANELS = 6


def schedules_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """The α schedules tried."""
    drawn = schedules.drawn(view, lines)
    if not drawn.lines:
        return Section("schedules", "", ())
    said = [_shapes_said(view, lines)]
    if len(drawn.lines) < drawn.tried:
        said.append(
            f"{len(drawn.lines)} of {drawn.tried} trials are drawn: the best, and others evenly down to the worst."
        )
    alt = "α of each trial over its compute, coloured by the quarter of the trials that it belongs to."
    return Section("schedules", "The schedules tried", tuple(said), schedules.figure(drawn), alt)


def shapes_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """Which shapes win."""
    drawn = parameters.drawn(view, lines, ["schedule.shape"])
    if not drawn.panels or len(drawn.panels[0].words) < 2:
        return Section("shapes", "", ())
    said = "Each point is a trial; a shape that was tried more often also had more chances to be lucky: " + ", ".join(
        f"{word} {sum(value == word for value in drawn.panels[0].values)}" for word in drawn.panels[0].words
    )
    return Section(
        "shapes",
        "Which shapes win",
        (f"{said}.", *_alone(view)),
        parameters.figure(drawn),
        "Metric of every trial by its schedule's shape.",
    )


def importances_section(
    view: StudyView, lines: Sequence[TrialLine], found: Sequence[Importance], evaluator: Evaluator
) -> Section:
    """Which parameters matter."""
    if not found:
        measured = sum(line.measured for line in lines)
        told = f"Of {count(measured, 'measured trial')} no importance is told: it takes {LEAST_TRIALS} at least."
        return Section("importances", "Which parameters matter", (told,) if lines else ())
    leading = [f"{each.parameter} ({percent(each.importance)})" for each in found[:3]]
    how = {
        "ped-anova": "what separates the better trials from all others (PED-ANOVA)",
        "fanova": "the variance that a random forest explains (fANOVA), of the parameters that all trials have",
    }[evaluator]
    said = (
        f"By {how}, {listed(leading)} {'matters' if len(leading) == 1 else 'matter'} most. That is an observation on "
        f"{max(each.trials for each in found)} trials that the sampler chose, not an experiment: a parameter that it "
        f"soon settled has little left to separate."
    )
    alt = "A bar for each parameter: its share of all importance."
    drawn = importances.drawn(found)
    return Section("importances", "Which parameters matter", (said, *_alone(view)), importances.figure(drawn), alt)


def parameters_section(view: StudyView, lines: Sequence[TrialLine], found: Sequence[Importance]) -> Section:
    """Values against the metric."""
    proposed = list(dict.fromkeys(name for trial in view.trials for name in trial.params))
    names = [each.parameter for each in found] or proposed
    drawn = parameters.drawn(view, lines, [name for name in names if name != "schedule.shape"][:_MOST_PANELS])
    if not drawn.panels:
        return Section("parameters", "", ())
    which = "The most important parameters" if found else "Parameters"
    said = (
        f"{which} against the metric. `keep.*` is what was proposed; a budget then scales all shares together, and "
        f"`kept.*` in the dashboard is what a trial really kept."
    )
    alt = "Metric of every trial against the value of each parameter."
    return Section("parameters", "Their values", (said,), parameters.figure(drawn), alt)


def widths_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """Widths per group."""
    drawn = widths.drawn(view, lines)
    if drawn is None or not drawn.trials:
        return Section("widths", "", ())
    best = drawn.trials[0]
    least = min(range(len(drawn.groups)), key=lambda i: best.shares[i])
    most = max(range(len(drawn.groups)), key=lambda i: best.shares[i])
    which = "The best on the front" if len(view.objectives) > 1 else "The best"
    said = [
        f"{which}, {best.name}, keeps least of {drawn.groups[least]} ({percent(best.shares[least])}, "
        f"{best.widths[least]} of {drawn.full[least]} channels) and most of {drawn.groups[most]} "
        f"({percent(best.shares[most])})."
    ]
    if drawn.sensitivity and len(drawn.groups) >= _LEAST_GROUPS:
        found = spearmanr(drawn.sensitivity, best.shares)
        told = (
            "keeps more of what is more sensitive"
            if found.statistic > 0
            else "does not keep more of what is more sensitive"
        )
        unsure = "" if found.pvalue < 0.05 else ", which so few groups do not prove"
        said.append(f"It {told} (rank correlation {found.statistic:.2f} over {len(drawn.groups)} groups{unsure}).")
    alt = "Above, the shares of each group's channels that the best trials keep; below, its sensitivity and its cost."
    return Section("widths", "Widths, layer by layer", tuple(said), widths.figure(drawn), alt)


def stages_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """The stages of the best trial that has any."""
    complete = [line for line in lines if line.within and line.row.shape not in (None, "instant")]
    ranked = sorted(complete, key=lambda line: -view.metric.quality(line.metric or 0.0))
    for line in ranked:
        bars = stages.drawn(view, trial_of(view.study, line.number))
        if bars:
            end, last = max(bar.end for bar in bars), bars[0].last
            said = (
                f"Trial {line.number}, the best that fades at all, has {count(len(bars), 'stage')}; every α is 0 after "
                f"{end:.2f} of {last:.2f} epochs ({percent(end / last)} of its compute), and the folded network trains "
                "on."
            )
            alt = "A bar for each stage: when its α falls, and from when on it is folded."
            return Section("stages", "The stages of a trial", (said,), stages.figure(bars), alt)
    return Section("stages", "", ())


def course_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """How trials went."""
    drawn = course.drawn(view, lines)
    if not drawn.best and not drawn.stopped:
        return Section("course", "", ())
    said = []
    if drawn.best:
        best = drawn.best[0]
        said.append(
            f"{best.name[0].upper()}{best.name[1:]} stood at {view.metric.text(best.metric[0])} at α = 0 before any "
            "training "
            f"and ended at {view.metric.text(best.metric[-1])} after {best.compute[-1]:.2f} epochs of compute."
        )
    stopped = sum(line.came_to == "pruned" for line in lines)
    if stopped:
        said.append(
            f"{count(stopped, 'trial')} {'was' if stopped == 1 else 'were'} stopped early by these values (faint)."
        )
    alt = "The metric at α = 0 of each trial over its compute; dotted, that of the best trial at its current α."
    return Section("course", "How trials went", tuple(said), course.figure(drawn), alt)


def screening_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """Untrained loss against trained metric."""
    rows = screening_table.screened_rows(view)
    if not rows:
        return Section("screening", "", ())
    drawn = screening.drawn(rows, view.metric)
    found = screening_table.rank_correlation(view, rows)
    said = f"{count(len(rows), 'set')} of widths were judged untrained, {len(drawn.losses)} of them were trained too."
    if found is None:
        told = "Too few of them differ for a rank correlation."
    else:
        told = (
            f"The order by untrained loss agrees with that by trained {view.metric.name} with a rank correlation of "
            f"{found.coefficient:.2f} (Spearman, {found.widths} widths, p = {found.p_value:.2f})"
        )
        told += "." if found.p_value < 0.05 else ": so few widths cannot tell whether screening chose well."
    alt = "Trained metric against untrained loss of the widths that were both; ticks for widths that were not trained."
    return Section("screening", "Screening", (said, told), screening.figure(drawn) if drawn.losses else None, alt)


def history_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """The history of the best."""
    drawn = history.drawn(view, lines)
    if not drawn.complete and not drawn.stopped:
        return Section("history", "", ())
    said = []
    if drawn.best:
        number, value = drawn.best[-1]
        since = sum(line.number > number and line.state in ("complete", "pruned") for line in lines)
        best = f"The best {view.metric.name}" if len(view.objectives) > 1 else "The best"
        said.append(
            f"{best}, {view.metric.text(value)}, came with trial {number}; {count(since, 'later trial')} "
            f"brought none better."
        )
    front = [str(line.number) for line in lines if line.front]
    if len(view.objectives) > 1 and front:
        said.append(f"On the front {'is trial' if len(front) == 1 else 'are trials'} {listed(front)}.")
    alt = "The metric of each trial in the order of their numbers, and the best so far."
    return Section("history", "How the study went", tuple(said), history.figure(drawn), alt)


def _alone(view: StudyView) -> tuple[str, ...]:
    """What a section is to say that knows one of several objectives."""
    if len(view.objectives) == 1:
        return ()
    return (f"Trials are judged by their {view.metric.name} alone here, whatever their networks cost.",)


def _shapes_said(view: StudyView, lines: Sequence[TrialLine]) -> str:
    known: dict[str, list[TrialLine]] = {}
    for line in lines:
        if line.measured and line.row.shape is not None:
            known.setdefault(line.row.shape, []).append(line)
    if not known:
        return "No trial ran to its end yet."
    if len(known) == 1:
        return f"All trials that ran to their end had the shape {next(iter(known))}."
    medians = {shape: statistics.median(line.metric or 0.0 for line in each) for shape, each in known.items()}
    ordered = sorted(known, key=lambda shape: -view.metric.quality(medians[shape]))
    told = listed(
        [f"{shape} {view.metric.text(medians[shape])} ({count(len(known[shape]), 'trial')})" for shape in ordered]
    )
    said = f"Medians of the trials that ran to their end: {told}."
    level = [shape for shape in ordered if any(line.best or line.like_best for line in known[shape])]
    if view.comparison is not None and len(level) > 1:
        said += f" No shape won: of {listed(level)} there is a trial that cannot be told from the best."
    return said
