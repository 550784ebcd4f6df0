"""What a study knows of its trials: measurements recorded, the best one, a table, interrupted ones queued again."""

from __future__ import annotations

import warnings
from collections import Counter
from datetime import datetime
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from ...errors import StudyError
from ..definition.keys import Budget
from ..definition.reading import Definition
from .companions import check_trained
from .storage import GRACE_PERIOD, engine_of

# Widths are whole channels: a network meets its budget within 1 %.
BUDGET_TOLERANCE = 0.01
RECIPE = "recipe"
HISTORY = "history"


class Measurement(NamedTuple):
    """What was measured of a folded network; each field is a user attribute of its trial.

    `accuracy` is the validation accuracy in [0, 1], the shares are those of the baseline's cost; `latency` is in
    milliseconds for one example on one thread, and its share of the baseline's, timed beside it.
    """

    accuracy: float
    macs: int
    macs_share: float
    parameters: int
    parameters_share: float
    latency: float
    latency_share: float


class TrialRow(NamedTuple):
    """One line of `branchfold show`; None is not known (yet).

    `accuracy` is the folded network's or, where the trial did not reach that, the last one reported at α = 0;
    `compute` what its training cost so far, in epochs of the baseline's.
    """

    number: int
    state: str
    accuracy: float | None
    macs_share: float | None
    parameters_share: float | None
    latency_share: float | None
    shape: str | None
    reports: int
    compute: float | None
    seconds: float | None


def set_constraints(trial: optuna.Trial, measurement: Measurement, definition: Definition) -> None:
    """Tells Optuna by how much a measured network is over its latency budget; 0 or less is feasible.

    The other budgets are met by construction.
    """
    limit = definition.study.budget.latency
    if limit is None:
        return
    excess = measurement.latency_share - limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        trial.set_constraint("latency", excess)
    # optuna-dashboard reads this older form only.
    trial.storage.set_trial_system_attr(trial._trial_id, "constraints", [excess])


def measurement_of(trial: FrozenTrial) -> Measurement | None:
    """Returns the trial's measurement, or None if it was not measured."""
    if any(field not in trial.user_attrs for field in Measurement._fields):
        return None
    return Measurement(**{field: trial.user_attrs[field] for field in Measurement._fields})


def schedule_name(trial: FrozenTrial) -> str | None:
    """Returns the name of the trial's schedule; None if it proposed nothing yet."""
    shape = trial.user_attrs.get(RECIPE, {}).get("shape", trial.params.get("schedule.shape"))
    return None if shape is None else str(shape)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that count towards `study.trials`: completed, or stopped early by the pruner."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def meets_budget(measurement: Measurement, definition: Definition) -> bool:
    """Whether a network costs no more than the study's budget, within `BUDGET_TOLERANCE`."""
    budget = definition.study.budget
    limits = ((name, limit) for name, limit in budget.model_dump().items() if limit is not None)
    return all(getattr(measurement, f"{name}_share") <= limit * (1 + BUDGET_TOLERANCE) for name, limit in limits)


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    """Returns the study's trial of this number.

    Raises:
        StudyError: If there is none, or the study screens widths and trains nothing.
    """
    check_trained(study)
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        known = f"only 0 to {len(trials) - 1}" if trials else "and no other yet"
        raise StudyError(f"study {study.study_name!r} has no trial {number}, {known}")
    return trials[number]


def best_trial(study: optuna.Study, definition: Definition) -> FrozenTrial:
    """Returns the completed trial of the highest accuracy within the budget; of equal ones, the cheapest.

    Cheap is by the study's other objectives, then by MACs: with several objectives the trial is on their front.

    Raises:
        StudyError: If no trial has completed, or none that did is within the budget.
    """
    check_trained(study)
    name = study.study_name
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    measured = [(trial, result) for trial in complete if (result := measurement_of(trial)) is not None]
    if not measured:
        raise StudyError(f"study {name!r} has no finished trial yet{_counts(study)}; run `branchfold run {name}`")
    within = [pair for pair in measured if meets_budget(pair[1], definition)]
    if not within:
        trial, result = min(measured, key=lambda pair: pair[1].macs_share)
        shares = ", ".join(f"{name} {getattr(result, f'{name}_share'):.3f}" for name in Budget.model_fields)
        raise StudyError(
            f"no trial of {name!r} meets its budget ({_limits(definition)}): the smallest, trial {trial.number}, has "
            f"{shares}; run more trials with `branchfold run {name} --trials N`"
        )
    costs = [*(objective for objective in definition.study.objectives if objective != "accuracy"), "macs"]
    return max(within, key=lambda pair: (pair[1].accuracy, *(-getattr(pair[1], cost) for cost in costs)))[0]


def release_interrupted(study: optuna.Study, trial_number: int) -> bool:
    """Ends a trial that was interrupted and queues its parameters again, so that a rerun goes on where it was.

    `Study.optimize` has failed the trial already when KeyboardInterrupt arrives here; a worker that used `ask`
    leaves it running. Both end the same.

    Returns:
        Whether the parameters were queued; not if the trial finished after all, had proposed nothing yet, or
        the same parameters wait already.
    """
    trial = study.get_trials(deepcopy=False)[trial_number]
    if trial.state == TrialState.RUNNING:
        study.tell(trial_number, state=TrialState.FAIL, skip_if_finished=True)
    elif trial.state != TrialState.FAIL:
        return False
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    queued = [other.system_attrs.get("fixed_params", other.params) for other in waiting]
    if not trial.params or trial.params in queued:
        return False
    study.enqueue_trial(trial.params, user_attrs={"repeats": trial_number})
    return True


def end_abandoned(study: optuna.Study) -> None:
    """Fails the running trials whose process died, and queues them again.

    Those whose heartbeat stopped are Optuna's to end; one that died before its first heartbeat would run for ever.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    engine = engine_of(study._storage)
    if not running or engine is None:
        return
    with engine.connect() as connection:
        beating = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
    for trial in running:
        started = trial.datetime_start
        age = (datetime.now() - started).total_seconds() if started is not None else 0.0
        if trial._trial_id not in beating and age > GRACE_PERIOD:
            release_interrupted(study, trial.number)


def trial_rows(study: optuna.Study) -> list[TrialRow]:
    """Returns one row for each trial, in the order of their numbers."""
    return [_row(trial) for trial in study.get_trials(deepcopy=False)]


def _row(trial: FrozenTrial) -> TrialRow:
    attributes = trial.user_attrs
    # With several objectives nothing is reported to Optuna; the trial's own history is there in either case.
    last = attributes.get(HISTORY, [{}])[-1]
    reported = last.get("folded_accuracy")
    if reported is None and trial.last_step is not None:
        reported = trial.intermediate_values[trial.last_step]
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        accuracy=attributes.get("accuracy", reported),
        macs_share=attributes.get("macs_share"),
        parameters_share=attributes.get("parameters_share"),
        latency_share=attributes.get("latency_share"),
        shape=schedule_name(trial),
        reports=last.get("number", trial.last_step) or 0,
        compute=last.get("compute"),
        seconds=trial.duration.total_seconds() if trial.duration is not None else None,
    )


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
