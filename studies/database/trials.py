"""What a study knows of its trials: measurements recorded, the best one, interrupted ones queued again."""

from __future__ import annotations

import warnings
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from ...errors import StudyError
from ...names import COSTS
from ..definition.keys import Budget
from ..definition.reading import Definition
from ..metric import ACCURACY, Metric
from .attributes import METRIC
from .companions import check_trained
from .optuna_internals import set_dashboard_constraints, with_stale_heartbeat, without_heartbeat
from .retries import release_killed
from .storage import GRACE_PERIOD, NO_SIGN_OF_LIFE
from .tables.names import HISTORY as HISTORY
from .tables.names import RECIPE as RECIPE
from .tables.names import with_metric as with_metric

# Widths are whole channels: a network meets its budget within 1 %.
BUDGET_TOLERANCE = 0.01


class Measurement(NamedTuple):
    """What was measured of a folded network; each field is a column of `networks`.

    Fields with a default were added later: a trial that was recorded without them is measured all the same.

    `metric` is the study's metric on the validation split, the shares are those of the baseline's cost; `latency` is in
    milliseconds for `latency_batch` examples on `latency_threads` threads, and its share the median of its ratios to
    the baseline's, timed in turn. `latency_spread` is their interquartile range, and `latency_unsure` says that this
    is larger than what was to be told apart.
    """

    metric: float
    macs: int
    macs_share: float
    parameters: int
    parameters_share: float
    latency: float
    latency_share: float
    latency_spread: float | None = None
    latency_unsure: bool = False
    latency_threads: int = 1
    latency_batch: int = 1


def set_constraints(trial: optuna.Trial, measurement: Measurement, definition: Definition) -> None:
    """Tells Optuna by how much a measured network is over its latency budget; 0 or less is feasible.

    One whose latency is unsure is over it by as much as it spreads. The other budgets are met by construction.
    """
    limit = definition.study.budget.latency
    if limit is None:
        return
    excess = measurement.latency_share - limit
    if measurement.latency_unsure:
        excess = max(excess, measurement.latency_spread or 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        trial.set_constraint("latency", excess)
    set_dashboard_constraints(trial, [excess])


def measurement_of(trial: FrozenTrial) -> Measurement | None:
    """The trial's measurement, or None if it was not measured."""
    known = with_metric(trial.user_attrs)
    found: dict[str, Any] = {field: known[field] for field in Measurement._fields if field in known}
    if any(field not in found and field not in Measurement._field_defaults for field in Measurement._fields):
        return None
    return Measurement(**found)


def values_of(measurement: Measurement, definition: Definition) -> tuple[float, ...]:
    """What Optuna is told of a network: the metric and the costs that are the study's objectives, in their order."""
    measured = measurement._asdict()
    return tuple(float(measured[name if name in COSTS else "metric"]) for name in definition.study.objectives)


def metric_value(trial: FrozenTrial) -> float | None:
    """The metric of the trial's network on the validation split; None if it was not measured."""
    found = with_metric(trial.user_attrs).get("metric")
    return None if found is None else float(found)


def history_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """The trial's reports at its milestones, in order; none where it did not come so far."""
    return [with_metric(entry) for entry in trial.user_attrs.get(HISTORY, [])]


def metric_of(study: optuna.Study) -> Metric:
    """What the study measures of its networks."""
    found = study.user_attrs.get(METRIC)
    return ACCURACY if found is None else Metric(**found)


def schedule_name(trial: FrozenTrial) -> str | None:
    """The name of the trial's schedule; None if it proposed nothing yet."""
    shape = trial.user_attrs.get(RECIPE, {}).get("shape", trial.params.get("schedule.shape"))
    return None if shape is None else str(shape)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count towards `study.trials`: completed, or stopped early by the pruner."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def meets_budget(measurement: Measurement, definition: Definition) -> bool:
    """Whether a network costs no more than the study's budget, within `BUDGET_TOLERANCE`; no if that is unsure."""
    budget = definition.study.budget
    if budget.latency is not None and measurement.latency_unsure:
        return False
    limits = ((name, limit) for name, limit in budget.model_dump().items() if limit is not None)
    return all(getattr(measurement, f"{name}_share") <= limit * (1 + BUDGET_TOLERANCE) for name, limit in limits)


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    """The study's trial of this number.

    Raises:
        StudyError: If there is none, or the study screens widths and trains nothing.
    """
    check_trained(study)
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        known = f"only 0 to {len(trials) - 1}" if trials else "and no other yet"
        raise StudyError(f"study {study.study_name!r} has no trial {number}, {known}")
    return trials[number]


def ranked_trials(study: optuna.Study, definition: Definition) -> list[tuple[FrozenTrial, Measurement]]:
    """The completed trials within the budget, the best by the metric first; of equal ones, the cheapest first.

    Cheap is by the study's other objectives, then by MACs: with several objectives the first is on their front.
    """
    costs = [*(objective for objective in definition.study.objectives if objective in COSTS), "macs"]
    quality = metric_of(study).quality
    within = [pair for pair in _measured(study) if meets_budget(pair[1], definition)]
    return sorted(within, key=lambda pair: (-quality(pair[1].metric), *(getattr(pair[1], cost) for cost in costs)))


def best_trial(study: optuna.Study, definition: Definition) -> FrozenTrial:
    """The first of `ranked_trials`.

    Raises:
        StudyError: If no trial has completed, or none that did is within the budget.
    """
    check_trained(study)
    if ranked := ranked_trials(study, definition):
        return ranked[0][0]
    name = study.study_name
    if not (measured := _measured(study)):
        counts = _counts(study)
        if not finished_trials(study):
            raise StudyError(f"study {name!r} has no finished trial yet{counts}; run `branchfold run {name}`")
        raise StudyError(
            f"study {name!r} has no trial that ran to its end{counts}; run more of them, `branchfold run {name} "
            f"--trials N`, or begin anew after `branchfold delete {name}`"
        )
    trial, result = min(measured, key=lambda pair: pair[1].macs_share)
    shares = ", ".join(f"{name} {getattr(result, f'{name}_share'):.3f}" for name in Budget.model_fields)
    unsure = ", unsure" if result.latency_unsure and definition.study.budget.latency is not None else ""
    raise StudyError(
        f"no trial of {name!r} meets its budget ({_limits(definition)}): the smallest, trial {trial.number}, has "
        f"{shares}{unsure}; run more trials with `branchfold run {name} --trials N`"
    )


def _measured(study: optuna.Study) -> list[tuple[FrozenTrial, Measurement]]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [(trial, result) for trial in complete if (result := measurement_of(trial)) is not None]


def end_abandoned(study: optuna.Study) -> None:
    """Fails the running trials whose process died, and queues them again.

    Those whose heartbeat stopped are Optuna's to end; one that died before its first heartbeat would run for ever.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    for trial in _never_beat(study):
        release_killed(study, trial.number, NO_SIGN_OF_LIFE)


def living_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials whose process lives, as far as their heartbeats tell; nothing is changed."""
    dead = {trial.number for trial in (*with_stale_heartbeat(study), *_never_beat(study))}
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial.number not in dead]


def _never_beat(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials that had time for a heartbeat and gave none."""
    now, found = datetime.now(), []
    for trial in without_heartbeat(study):
        age = (now - trial.datetime_start).total_seconds() if trial.datetime_start is not None else 0.0
        if age > GRACE_PERIOD:
            found.append(trial)
    return found


def _counts(study: optuna.Study) -> str:
    words = {
        TrialState.PRUNED: "stopped early",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    counts = Counter(trial.state for trial in study.get_trials(deepcopy=False))
    parts = [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    return f" ({', '.join(parts)})" if parts else ""


def _limits(definition: Definition) -> str:
    budget = definition.study.budget
    return ", ".join(f"{key} {limit}" for key, limit in budget.model_dump().items() if limit is not None)
