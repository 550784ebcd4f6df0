"""The lines that say what a run, an export or a repetition came to."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from ....names import COSTS
from ....studies.database.findings.outcome import Outcome
from ....studies.database.retries import NOTE
from ....studies.database.trials import (
    Measurement,
    measurement_of,
    meets_budget,
    metric_of,
    metric_value,
    schedule_name,
)
from ....studies.definition.reading import Definition
from ....studies.metric import Metric
from ....studies.tables.delivered import how_sure, won
from ....studies.tables.words import size_text
from ...exports.card import latency_text, share_text
from ...exports.delivery import Delivery
from ...exports.evaluation import Evaluation
from ...run.repeating.finalists import Finalist, Selection, compute_of, seconds_of
from ...run.repeating.repetition import Again, Refinement
from .numbers import latency_lines, percent, with_interval

_WITHOUT_RESULT = {TrialState.FAIL: "failed", TrialState.PRUNED: "stopped early"}
# The last ones tell of what happens now.
_SHOWN_REASONS = 20


def selection_lines(selection: Selection, definition: Definition, trials: int, examples: int) -> list[str]:
    """What was selected, among how many, by which examples: without an interval, since the best of many is too high.

    Args:
        selection: of the study.
        definition: of the study.
        trials: how many it finished.
        examples: of the validation split.
    """
    source, finalists, metric = selection.source, selection.finalists, metric_of(selection.study)
    if not finalists:
        pending = f"; its finalists are still to be trained: `branchfold run {definition.study.name}`"
        return [
            f"best trial {source.number} ({schedule_name(source)}): {_value(source, metric)}, "
            f"selected among {trials} on {examples} validation examples{pending if selection.pending else ''}"
        ]
    runs = [run for finalist in finalists for run in finalist.runs]
    winner = finalists[0]
    assert winner.mean is not None, "a finalist that is selected has both its runs"
    return [
        f"{len(winner.runs)} new runs of each finalist ({len(runs)} runs, {compute_of(runs):.1f} epochs of the "
        f"baseline's compute, {seconds_of(runs):.0f} s): {'; '.join(_finalist(each, metric) for each in finalists)}",
        f"best finalist: trial {source.number} ({schedule_name(source)}): mean {metric.text(winner.mean)}, "
        f"selected among {len(finalists)} on {examples} validation examples, and those among {trials} trials; "
        f"its run of the lowest new seed is exported",
    ]


def ending_lines(outcome: Outcome, name: str, metric: Metric) -> list[str]:
    """The end of a run in three lines: what was won, how sure that is, and what to do next."""
    return [
        f"won: {won(outcome, metric)}",
        f"sure: {how_sure(outcome, metric)}",
        f"next: `branchfold report {name}` shows all of it, `branchfold export {name} --format onnx` takes the network "
        f"away, more --trials search on",
    ]


def rerun_lines(number: int, again: Again) -> str:
    """How close a repeated trial came."""
    text = again.metric.text
    points = f"{100 * again.difference:.2f} points" if again.metric.unit == "%" else f"{again.difference:.4g}"
    lines = [
        f"trial {number} again: {text(again.after[-1])} on the {again.examples} validation examples that trials are "
        f"selected by, {text(again.before[-1])} then",
        f"largest difference at any of {len(again.after)} reports: {points}",
    ]
    changed = [
        f"{name} {again.versions_before.get(name, 'unknown')} then, {now} now"
        for name, now in again.versions_after.items()
        if again.versions_before.get(name) != now
    ]
    return "\n".join([*lines, *changed])


def refined_lines(refinement: Refinement) -> list[str]:
    """The refined runs beside the trial that they refine, by the validation examples that trials are chosen by."""
    source, runs = refinement.source, refinement.complete
    was = "stopped early"
    metric = refinement.metric
    if metric_value(source) is not None:
        was = f"{_value(source, metric)}, selected among {refinement.trials}"
    lines = [f"trial {source.number} of {refinement.study}: {was} on {refinement.examples} validation examples"]
    lines += [
        f"refined, seed {run.user_attrs['seed']}: "
        + (_value(run, metric) if run in runs else "diverged")
        + f" (trial {run.number} of {refinement.study}-refined)"
        for run in refinement.runs
    ]
    if len(runs) > 1:
        lines.append(f"mean of {len(runs)} seeds: {metric.text(refinement.mean)}")
    return lines


def evaluation_lines(data: str, evaluation: Evaluation) -> str:
    """An evaluation as four lines."""
    seed = "" if evaluation.seed is None else f", seed {evaluation.seed}"
    if evaluation.split == "test":
        told = with_interval(evaluation.metric, evaluation.value, evaluation.interval)
    else:  # by these examples the network was selected
        told, seed = (
            evaluation.metric.text(evaluation.value),
            f"{seed}; there is no test split, and trials were selected by these",
        )
    return "\n".join(
        (
            f"{evaluation.metric.name}: {told} on {data}'s {evaluation.split} split "
            f"({evaluation.examples} examples{seed})",
            f"MACs: {_of(evaluation.macs, evaluation.full_macs)}, "
            f"parameters: {_of(evaluation.parameters, evaluation.full_parameters)}",
            latency_lines(evaluation.latency, evaluation.runtime),
        )
    )


def pareto_front(study: optuna.Study, definition: Definition) -> list[tuple[FrozenTrial, Measurement]]:
    """The trials of a study of several objectives that no other beats in all, within the budget; the best first."""
    measured = [(trial, measurement_of(trial)) for trial in study.best_trials]
    inside = [(trial, found) for trial, found in measured if found is not None and meets_budget(found, definition)]
    quality = metric_of(study).quality
    return sorted(inside, key=lambda pair: -quality(pair[1].metric))


def file_lines(delivery: Delivery) -> list[str]:
    """What was found of each file, one line each; of a graph format its latency as well."""
    lines = []
    for file in delivery.files:
        found = file.verified
        lines.append(
            f"{file.path.name}: {size_text(file.size)}, loaded anew in {found.runtime}, differs from the folded "
            f"network by {share_text(found.difference)} of its largest output"
        )
        if found.latency is not None:
            lines.append(f"{file.path.name}: latency {latency_text(found.latency, found.runtime)}")
    return lines


def front_lines(study: optuna.Study, definition: Definition) -> list[str]:
    """The Pareto front of several objectives in one line; nothing of one objective."""
    if len(definition.study.objectives) == 1:
        return []
    metric, costs = metric_of(study), [objective for objective in definition.study.objectives if objective in COSTS]
    points = "; ".join(
        f"{trial.number}: "
        + ", ".join([metric.text(m.metric), *(percent(getattr(m, f"{cost}_share")) for cost in costs)])
        for trial, m in pareto_front(study, definition)
    )
    return [f"Pareto front (trial: validation {metric.name}, {', '.join(costs)}): {points}"]


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({percent(part / whole)} of {whole:,})"


def _value(trial: FrozenTrial, metric: Metric) -> str:
    value = metric_value(trial)
    assert value is not None, "what is told is measured"
    return metric.text(value)


def _finalist(finalist: Finalist, metric: Metric) -> str:
    known = ", the known recipe" if finalist.known else ""
    values = ", ".join(map(metric.text, finalist.values))
    mean = "diverged" if finalist.mean is None else f"{metric.text(finalist.mean)} ({values})"
    return f"trial {finalist.trial.number}{known} {mean}"


def failure_lines(study: optuna.Study) -> list[str]:
    """A line for each trial that failed or was stopped early with a reason, the latest ones last."""
    trials = study.get_trials(deepcopy=False, states=tuple(_WITHOUT_RESULT))
    told = [(trial, str(trial.user_attrs[NOTE])) for trial in trials if trial.user_attrs.get(NOTE)]
    lines = [f"trial {trial.number} {_WITHOUT_RESULT[trial.state]}: {note}" for trial, note in told]
    earlier = len(lines) - _SHOWN_REASONS
    return lines if earlier <= 0 else [f"{earlier} earlier ones, and", *lines[earlier:]]
