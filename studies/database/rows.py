"""A study's trials as the rows of a table."""

from __future__ import annotations

from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial

from .trials import history_of, metric_value, schedule_name


class TrialRow(NamedTuple):
    """One line of `branchfold show`; None is not known (yet).

    `metric` is the folded network's or, where the trial did not reach that, the last one reported at α = 0;
    `compute` what its training cost so far, in epochs of the baseline's. The fields of cost are `Measurement`'s.
    """

    number: int
    state: str
    metric: float | None
    macs_share: float | None
    parameters_share: float | None
    latency_share: float | None
    latency_spread: float | None
    latency_unsure: bool | None
    shape: str | None
    reports: int
    compute: float | None
    seconds: float | None


def trial_rows(study: optuna.Study) -> list[TrialRow]:
    """One row for each trial, in the order of their numbers."""
    return [_row(trial) for trial in study.get_trials(deepcopy=False)]


def _row(trial: FrozenTrial) -> TrialRow:
    attributes = trial.user_attrs
    # With several objectives nothing is reported to Optuna; the trial's own history is there in either case.
    last = (history_of(trial) or [{}])[-1]
    measured, reported = metric_value(trial), last.get("folded_metric")
    if reported is None and trial.last_step is not None:
        reported = trial.intermediate_values[trial.last_step]
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        metric=reported if measured is None else measured,
        macs_share=attributes.get("macs_share"),
        parameters_share=attributes.get("parameters_share"),
        latency_share=attributes.get("latency_share"),
        latency_spread=attributes.get("latency_spread"),
        latency_unsure=attributes.get("latency_unsure"),
        shape=schedule_name(trial),
        reports=last.get("number", trial.last_step) or 0,
        compute=last.get("compute"),
        seconds=trial.duration.total_seconds() if trial.duration is not None else None,
    )
