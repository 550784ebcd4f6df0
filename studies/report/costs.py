"""The sections of a report about cost: the metric against it, the front, and which trials can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..figures import cost
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.words import count, in_words, percent
from .document import Section, Table


def cost_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """Metric against cost."""
    measured = [line for line in lines if line.measured]
    if not measured:
        return Section("cost", "", ())
    drawn = cost.drawn(view, lines)
    said = [like_the_best(view, lines)]
    front = [line for line in lines if line.front]
    if len(front) > 1:
        said.append(_front_said(view, front, drawn.cost))
    if drawn.cost == "parameters" and "parameters" not in view.objectives:
        said.append("The budget makes all trials cost as many MACs, so they are drawn by their parameters.")
    if over := sum(line.within is False for line in measured):
        said.append(f"{count(over, 'trial')} {'is' if over == 1 else 'are'} over the budget.")
    what = cost.COSTS[drawn.cost] if len(cost.costs_of(view)) > 1 else "cost"
    title = f"{view.metric.name.capitalize()} against {what}"
    return Section("cost", title, tuple(said), cost.figure(drawn), _cost_alt(view, drawn), _front_table(view, front))


def further_cost_section(view: StudyView, lines: Sequence[TrialLine], index: int) -> Section:
    """Metric against another cost that is among the objectives; empty where there are not so many."""
    costs = cost.costs_of(view)
    if index >= len(costs) or not any(line.measured for line in lines):
        return Section("", "", ())
    drawn, name = cost.drawn(view, lines, costs[index]), cost.COSTS[costs[index]]
    front, said = [line for line in lines if line.front], []
    if len(front) > 1:
        said.append(_front_said(view, front, drawn.cost))
    title = f"{view.metric.name.capitalize()} against {name}"
    return Section(f"cost-{costs[index]}", title, tuple(said), cost.figure(drawn), _cost_alt(view, drawn))


def _cost_alt(view: StudyView, drawn: cost.Drawn) -> str:
    return f"{view.metric.name} of every measured trial against its share of the baseline's {cost.COSTS[drawn.cost]}."


def _front_table(view: StudyView, front: Sequence[TrialLine]) -> Table | None:
    """The networks of the front of several objectives, from the best metric to the worst."""
    if len(view.objectives) == 1 or not front:
        return None
    rows = [
        (
            str(line.number),
            view.metric.text(line.metric or 0.0),
            percent(line.row.macs_share or 0.0),
            percent(line.row.parameters_share or 0.0),
            percent(line.row.latency_share or 0.0) + " ?" * bool(line.row.latency_unsure),
            line.recipe or "-",
        )
        for line in sorted(front, key=lambda line: -view.metric.quality(line.metric or 0.0))
    ]
    return Table(("trial on the front", view.metric.name, "MACs", "parameters", "latency", "recipe"), tuple(rows))


def _front_said(view: StudyView, front: Sequence[TrialLine], name: str) -> str:
    """From where to where a front of several trials goes, or that they all lie at one point."""
    share = _share(name)
    of = cost.COSTS[name]
    if len(cost.costs_of(view)) > 1:  # it is no line in this plane
        low, high = percent(min(map(share, front))), percent(max(map(share, front)))
        return f"The trials on the front have {low} to {high} of the baseline's {of}."
    first, last = (
        (view.metric.text(line.metric or 0), percent(share(line)))
        for line in (min(front, key=share), max(front, key=share))
    )
    costs = f"of the baseline's {of}"
    if first == last:
        return f"The {len(front)} trials on the front are one point: {first[0]} at {first[1]} {costs}."
    return f"The front goes from {first[0]} at {first[1]} {costs} to {last[0]} at {last[1]}."


def like_the_best(view: StudyView, lines: Sequence[TrialLine]) -> str:
    """How many trials cannot be told from the best one."""
    comparison = view.comparison
    if comparison is None or view.baseline is None:
        why = "several objectives leave no single best" if len(view.objectives) > 1 else "their answers were not kept"
        return f"Trials were not compared example by example: {why}."
    like = [line.number for line in lines if line.like_best and not line.best]
    examples = view.baseline.examples
    if not comparison.p_values:
        return f"There is no other trial yet that the best one, trial {comparison.best}, could be compared with."
    if not like:
        return (
            f"Trial {comparison.best} is better than each of the {len(comparison.p_values)} others within the budget, "
            f"as far as {examples} validation examples tell ({comparison.test})."
        )
    number = in_words(len(like) + 1)
    which = f"The {number} best cannot" if _are_the_best(lines, like) else f"{number.capitalize()} trials cannot"
    return (
        f"{which} be told apart on {examples} validation examples ({comparison.test}, corrected for "
        f"{count(len(comparison.p_values), 'comparison')}): which of them is first is luck."
    )


def _are_the_best(lines: Sequence[TrialLine], like: Sequence[int]) -> bool:
    """Whether no trial that is behind the best lies before one that is not."""
    behind = [line.metric or 0.0 for line in lines if line.like_best is False]
    return not behind or all((line.metric or 0.0) > max(behind) for line in lines if line.number in like)


def _share(cost_name: str) -> Callable[[TrialLine], float]:
    return lambda line: getattr(line.row, f"{cost_name}_share") or 0.0
