"""The first section of a report: the network that was found beside the baseline, in one sentence and one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..figures import blocks
from ..tables.delivered import how_sure
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.widths import width_rows
from ..tables.words import count, listed, percent, size_text, with_interval
from .document import Section, Table


def answer(view: StudyView, lines: Sequence[TrialLine]) -> str:
    """What was found, in one sentence."""
    found, metric = view.outcome, view.metric
    network = "the network" if view.definition is None else view.definition.model.factory
    if found is not None:
        return (
            f"{_one_of(view, lines)}{network} keeps {percent(found.macs / found.full_macs)} of its "
            f"multiply-accumulates and {percent(found.parameters / found.full_parameters)} of its parameters, and has "
            f"{metric.text(found.network.value)} {metric.name} on {found.examples} {found.split} examples, where the "
            f"full network has {metric.text(found.baseline.value)}."
        )
    best = next((line for line in lines if line.best), None)
    if best is not None and view.baseline is not None:
        return (
            f"So far {_best_of(view)} of {count(_finished(lines), 'finished trial')} keeps "
            f"{percent(best.row.macs_share or 0)} of {network}'s multiply-accumulates and has "
            f"{metric.text(best.metric or 0)} {metric.name} on {view.baseline.examples} validation examples, where the "
            f"full network has {metric.text(view.baseline.metric)}."
        )
    if lines:
        states = Counter(line.state for line in lines)
        told = listed([f"{number} {state}" for state, number in states.items()])
        return f"No trial within the budget has finished yet: of {count(len(lines), 'trial')}, {told}."
    return "No trial has begun yet."


def _one_of(view: StudyView, lines: Sequence[TrialLine]) -> str:
    """That what was found is one of several; "" of one objective."""
    front = sum(line.front for line in lines)
    if len(view.objectives) == 1 or front < 2:
        return ""
    return f"The front of {listed(view.objectives)} has {front} networks. In {_best_of(view)}, "


def _best_of(view: StudyView) -> str:
    """What the one network is that is shown."""
    return "the best" if len(view.objectives) == 1 else f"that of the best {view.metric.name}"


def answer_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """The section: how sure that is, the network as blocks, and the numbers beside the baseline's."""
    trial = _source(view, lines)
    drawn = () if trial is None else blocks.drawn(width_rows(view, view.trials[trial]))
    return Section(
        id="answer",
        title="What was found",
        said=tuple(_said(view, lines, trial)),
        figure=blocks.figure(drawn) if drawn else None,
        alt="The network as a row of blocks, before and after, to scale: as wide as a group's channels, as high as its "
        "images.",
        table=_table(view),
        reading="Each block is a channel group: as wide as its channels, as high as its images; above before, below "
        "after.",
    )


def _said(view: StudyView, lines: Sequence[TrialLine], trial: int | None) -> list[str]:
    found, said = view.outcome, []
    finished = _finished(lines)
    if found is not None:
        said.append(f"How sure: {view.metric.name} {how_sure(found, view.metric)}.")
        newer = finished - found.finished
        if newer > 0:
            said.append(
                f"Since that network was exported {count(newer, 'more trial')} finished: `branchfold run {view.name}` "
                f"selects and exports anew."
            )
    elif trial is not None:
        said.append(
            "This is the best of many on the examples that it was selected by, and so too good by some luck. It was "
            f"not exported yet and never saw the test split: `branchfold export {view.name}` does both."
        )
    running = sum(line.state == "running" for line in lines)
    if running:
        said.append(
            f"{count(running, 'trial')} {'runs' if running == 1 else 'run'} still: this page shows what is known now."
        )
    if len(view.objectives) > 1:
        front = [line for line in lines if line.front]
        said.append(
            f"The study has several objectives, {listed(view.objectives)}: of {count(len(front), 'network')} on its "
            f"front none is at least as good as another in all of them, and what is shown here is {_best_of(view)}; "
            f"`branchfold export {view.name} --pareto` exports them all."
        )
    return said


def _source(view: StudyView, lines: Sequence[TrialLine]) -> int | None:
    """The trial whose widths are shown: the delivered recipe's, else the best one's."""
    if view.outcome is not None and view.outcome.trial < len(view.trials):
        return view.outcome.trial
    return next((line.number for line in lines if line.best), None)


def _table(view: StudyView) -> Table | None:
    found, metric = view.outcome, view.metric
    if found is None:
        return None
    where = f"{metric.name}, {found.examples} {found.split} examples"
    rows = [
        (
            where,
            with_interval(metric, found.network.value, found.network.interval),
            with_interval(metric, found.baseline.value, found.baseline.interval),
            "",
        ),
        ("MACs", f"{found.macs:,}", f"{found.full_macs:,}", percent(found.macs / found.full_macs)),
        (
            "parameters",
            f"{found.parameters:,}",
            f"{found.full_parameters:,}",
            percent(found.parameters / found.full_parameters),
        ),
        (
            f"latency of one example in {found.runtime}",
            f"{found.latency:.3f} ms",
            "-" if found.full_latency is None else f"{found.full_latency:.3f} ms",
            f"{percent(found.latency_share)} (quartiles {100 * found.latency_quartiles[0]:.1f} to "
            f"{percent(found.latency_quartiles[1])}{', unsure' if found.latency_unsure else ''})",
        ),
    ]
    if found.size is not None and found.full_size is not None:
        share = percent(found.size / found.full_size)
        rows.append((f"file {found.file}", size_text(found.size), size_text(found.full_size), share))
    if found.known is not None:
        known = with_interval(metric, found.known.value, found.known.interval)
        rows.append((f"known recipe (fold at once, equal shares), {metric.name}", known, "", ""))
    return Table(("", "found", "baseline", "share"), tuple(rows))


def _finished(lines: Sequence[TrialLine]) -> int:
    return sum(line.state in ("complete", "pruned") for line in lines)
