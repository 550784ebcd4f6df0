"""All that touches what Optuna does not promise: its tables, its private names, how it stores what it reads back.

One test class holds what is relied on here; pyproject caps Optuna's version below the next one that may change it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import DateTime, Engine, bindparam, text
from sqlalchemy.exc import IntegrityError

# One statement: Optuna reads the state first and writes it then, in between which SQLite lets another process read too.
_TAKE = text(
    "UPDATE trials SET state = 'RUNNING', datetime_start = :now WHERE trial_id = :trial AND state = 'WAITING'"
).bindparams(bindparam("now", type_=DateTime))


class QueueStorage(RDBStorage):
    """Optuna's storage, in which a queued trial is taken by exactly one process."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Sets a trial's state; False where it was to begin and does not wait, because another process took it."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        with self.engine.begin() as connection:
            return connection.execute(_TAKE, {"now": datetime.now(), "trial": trial_id}).rowcount == 1


def engine_of(storage: BaseStorage) -> Engine | None:
    """The engine behind a study's storage; None if it is no database."""
    backend = getattr(storage, "_backend", storage)  # a study wraps its database in a cache
    return backend.engine if isinstance(backend, RDBStorage) else None


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study lies in."""
    return study._storage


def trial_id_of(trial: FrozenTrial) -> int:
    """A trial's id in its database, by which the dashboard calls it."""
    return trial._trial_id


def as_format_string(url: str) -> str:
    """A URL as `RDBStorage` takes it: filled in as a format string, while SQLAlchemy leaves braces unquoted."""
    return url.replace("{", "{{").replace("}", "}}")


def set_user_attrs(trial: optuna.Trial, values: dict[str, Any]) -> None:
    """Writes user attributes of a running trial in one transaction: all of them or none.

    Optuna's own `set_user_attr` commits each, which takes longer than all else that is recorded of a trial.
    """
    engine = engine_of(trial.storage)
    if engine is None:
        for key, value in values.items():
            trial.set_user_attr(key, value)
        return
    rows = [{"trial": trial._trial_id, "key": key, "value": json.dumps(value)} for key, value in values.items()]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"), rows)
        connection.execute(
            text("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, :key, :value)"), rows
        )


def show_report(trial: optuna.Trial, step: int, value: float) -> None:
    """Keeps a value of a milestone where the dashboard draws it; `Trial.report` refuses with several objectives."""
    trial.storage.set_trial_intermediate_value(trial._trial_id, step, value)


def study_system_attrs(study: optuna.Study, prefixes: Sequence[str]) -> dict[str, Any]:
    """The attributes of a study that Optuna's own programs use, those whose keys begin with one of the prefixes."""
    engine = engine_of(study._storage)
    if engine is None:
        known = study._storage.get_study_system_attrs(study._study_id)
        return {key: value for key, value in known.items() if key.startswith(tuple(prefixes))}
    found: dict[str, Any] = {}
    statement = text(
        "SELECT key, value_json FROM study_system_attributes WHERE study_id = :study AND key >= :low AND key < :high"
    )
    with engine.connect() as connection:
        for prefix in prefixes:
            row = {"study": study._study_id, "low": prefix, "high": prefix[:-1] + chr(ord(prefix[-1]) + 1)}
            found |= {key: json.loads(value) for key, value in connection.execute(statement, row)}
    return found


def replace_study_system_attrs(study: optuna.Study, values: Mapping[str, Any], gone: Iterable[str] = ()) -> None:
    """Writes such attributes and removes others in one transaction: a note and three figures are a hundred of them."""
    engine = engine_of(study._storage)
    if engine is None:
        for key, value in values.items():
            study._storage.set_study_system_attr(study._study_id, key, value)
        return
    rows = [{"study": study._study_id, "key": key, "value": json.dumps(value)} for key, value in values.items()]
    removed = [{"study": study._study_id, "key": key} for key in (*values, *gone)]
    if not removed:
        return
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM study_system_attributes WHERE study_id = :study AND key = :key"), removed)
        connection.execute(
            text("INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (:study, :key, :value)"), rows
        )


def claim(study: optuna.Study, key: str) -> bool:
    """Whether this process is the first to claim `key`, and so the one that does what it stands for.

    The claim is an attribute of the study, inserted in one statement: the database refuses a second row, where
    `set_user_attr` would replace the first.

    Args:
        study: in a database that other processes may use.
        key: of the attribute; its value is the process, for people.
    """
    value = f"process {os.getpid()} on {platform.node()}"
    engine = engine_of(study._storage)
    if engine is None:  # a storage in memory has one process
        first = key not in study.user_attrs
        study.set_user_attr(key, value)
        return first
    row = {"study": study._study_id, "key": key, "value": json.dumps(value)}
    try:
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (:study, :key, :value)"), row
            )
    except IntegrityError:
        return False
    return True


def set_dashboard_constraints(trial: optuna.Trial, excesses: list[float]) -> None:
    """Writes a trial's constraints in the older form, the only one that optuna-dashboard reads."""
    trial.storage.set_trial_system_attr(trial._trial_id, "constraints", excesses)


def was_stopped(study: optuna.Study) -> bool:
    """Whether the last `optimize` was stopped from inside: a grid does so when it is through."""
    return study._stop_flag


def without_heartbeat(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials that have no heartbeat (yet); none if the storage is no database."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    engine = engine_of(study._storage)
    if not running or engine is None:
        return []
    with engine.connect() as connection:
        beating = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
    return [trial for trial in running if trial._trial_id not in beating]


def with_stale_heartbeat(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials whose heartbeat stopped: the process behind them is dead."""
    backend = getattr(study._storage, "_backend", study._storage)
    if not isinstance(backend, RDBStorage) or backend.heartbeat_interval is None:
        return []
    stale = set(backend._get_stale_trial_ids(study._study_id))
    return [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if t._trial_id in stale]


def artifact_ids(study: optuna.Study) -> set[str]:
    """The ids of the artifacts that a study and its trials list, those uploaded in the dashboard too."""
    listed = [study._storage.get_study_system_attrs(study._study_id)]
    listed += [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
    return {key.removeprefix("artifacts:") for attrs in listed for key in attrs if key.startswith("artifacts:")}
