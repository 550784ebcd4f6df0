"""All that touches what Optuna does not promise: its tables, its private names, how it stores what it reads back.

So does `tables.storage`, for its one class.

One test class holds what is relied on here; pyproject caps Optuna's version below the next one that may change it.
"""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.artifacts import ArtifactMeta
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from .tables.guarding import persistently
from .tables.names import BASELINE
from .tables.storage import StudyStorage
from .tables.trials import note_files

_ARTIFACT = "artifacts:"
# How the files end that the dashboard has beside networks.
ATTACHED = (".svg", ".json", ".toml", ".html")
_OF_STUDY = text("SELECT NULL, value_json FROM study_system_attributes WHERE study_id = :study AND key LIKE :like")
_OF_TRIALS = text(
    "SELECT trial_id, value_json FROM trial_system_attributes WHERE key LIKE :like "
    "AND trial_id IN (SELECT trial_id FROM trials WHERE study_id = :study)"
)
_CLAIM = text("INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (:study, :key, :value)")


def _backend(study: optuna.Study) -> Any:
    """A study's storage behind the cache that a study wraps it in."""
    return getattr(study._storage, "_backend", study._storage)


def engine_of(storage: BaseStorage) -> Engine | None:
    """The engine behind a study's storage; None if it is no database."""
    backend = getattr(storage, "_backend", storage)  # a study wraps its database in a cache
    return backend.engine if isinstance(backend, RDBStorage) else None


class SelectedStudy(optuna.Study):
    """A study as a sampler sees it that is to see some of its trials, or others in their place.

    Args:
        study: the study.
        select: the trials that are seen, from all of them.
    """

    def __init__(self, study: optuna.Study, select: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._whole, self._select = study, select

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        seen = self._select(self._whole._get_trials(deepcopy=False, use_cache=use_cache))
        return [trial for trial in seen if states is None or trial.state in states]

    def stop(self) -> None:
        """Stops the study itself."""
        self._whole.stop()


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study lies in."""
    return study._storage


def trial_id_of(trial: FrozenTrial) -> int:
    """A trial's id in its database, by which the dashboard calls it."""
    return trial._trial_id


def study_id_of(study: optuna.Study) -> int:
    """A study's id in its database, likewise."""
    return study._study_id


def as_format_string(url: str) -> str:
    """A URL as `RDBStorage` takes it: filled in as a format string, while SQLAlchemy leaves braces unquoted."""
    return url.replace("{", "{{").replace("}", "}}")


def set_user_attrs(trial: optuna.Trial, values: dict[str, Any]) -> None:
    """Writes values of a running trial in one transaction, as rows and as attributes: all of them or none.

    Optuna's own `set_user_attr` commits each, which takes longer than all else that is recorded of a trial.
    """
    backend = getattr(trial.storage, "_backend", trial.storage)
    if isinstance(backend, StudyStorage):
        backend.set_trial_values(trial._trial_id, values)
    else:  # in memory
        for key, value in values.items():
            trial.set_user_attr(key, value)


def add_milestone(trial: optuna.Trial, entry: dict[str, Any], seconds: float, shown: float | None = None) -> None:
    """Adds a report to a running trial's history, and to what Optuna knows of the trial.

    Optuna's own `Trial.report` commits once more, and refuses a trial of several objectives.

    Args:
        trial: That runs; one in memory has no history.
        entry: The report, with its `number`.
        seconds: From the trial's beginning to the report.
        shown: What Optuna's pruners hear and its dashboard draws; None for nothing.
    """
    backend = getattr(trial.storage, "_backend", trial.storage)
    if isinstance(backend, StudyStorage):
        backend.add_milestone(trial._trial_id, entry, seconds, shown)
    elif shown is not None:
        trial.storage.set_trial_intermediate_value(trial._trial_id, entry["number"], shown)
    if shown is not None:  # `should_prune` reads what this process reported here
        trial._cached_frozen_trial.intermediate_values[entry["number"]] = shown


def set_study_attrs(study: optuna.Study, values: dict[str, Any]) -> None:
    """Writes values of a study in one transaction, as rows and as attributes: all of them or none."""
    backend = _backend(study)
    if isinstance(backend, StudyStorage):
        backend.set_study_values(study._study_id, values)
    else:  # in memory
        for key, value in values.items():
            study.set_user_attr(key, value)


def add_baseline(study: optuna.Study, record: dict[str, Any]) -> bool:
    """Keeps a study's baseline; False if it has one, because another process was faster."""
    backend = _backend(study)
    if isinstance(backend, StudyStorage):
        return backend.add_baseline(study._study_id, record)
    study.set_user_attr(BASELINE, record)
    return True


def list_artifact(study: optuna.Study, artifact: str, filename: str) -> None:
    """Lists a file of the store among a study's artifacts, where the dashboard took it off the list."""
    key, storage = f"{_ARTIFACT}{artifact}", study._storage
    if json.loads(storage.get_study_system_attrs(study._study_id).get(key, "null")) is None:
        meta = ArtifactMeta(artifact, filename, "application/octet-stream", None)
        storage.set_study_system_attr(study._study_id, key, json.dumps(asdict(meta)))


def attached_files(study: optuna.Study) -> dict[int | None, dict[str, str]]:
    """Artifacts by their file names, of each trial by its id in the database; of None the study's.

    They are read from the database: Optuna keeps a trial that has ended in memory, as it was.
    """
    engine, found = engine_of(study._storage), defaultdict[int | None, dict[str, str]](dict)
    if engine is None:
        return found
    row = {"study": study._study_id, "like": f"{_ARTIFACT}%"}
    with engine.connect() as connection:
        for statement in (_OF_STUDY, _OF_TRIALS):
            for owner, value in connection.execute(statement, row):
                if (meta := json.loads(json.loads(value))) is not None:
                    found[owner][meta["filename"]] = meta["artifact_id"]
    return found


def list_files(
    study: optuna.Study, files: Mapping[int | None, Sequence[ArtifactMeta]], gone: Iterable[str] = ()
) -> None:
    """Lists files of the store as artifacts in one transaction, of trials that have ended too, which Optuna refuses.

    Args:
        study: In a database with our tables.
        files: By a trial's id in the database; of None the study's.
        gone: Artifacts of the study that are listed no more.
    """
    engine = engine_of(study._storage)
    assert engine is not None, "a storage in memory keeps no files"
    removed = [{"owner": study._study_id, "key": f"{_ARTIFACT}{artifact}"} for artifact in gone]
    with engine.begin() as connection:
        if removed:
            connection.execute(
                text("DELETE FROM study_system_attributes WHERE study_id = :owner AND key = :key"), removed
            )
        for trial_id, metas in files.items():
            of, owner = ("study", study._study_id) if trial_id is None else ("trial", trial_id)
            rows = [
                {"owner": owner, "key": f"{_ARTIFACT}{meta.artifact_id}", "value": json.dumps(json.dumps(asdict(meta)))}
                for meta in metas
            ]
            if rows:
                connection.execute(
                    text(
                        f"INSERT INTO {of}_system_attributes ({of}_id, key, value_json) VALUES (:owner, :key, :value)"
                    ),
                    rows,
                )
            note_files(connection, [meta.artifact_id for meta in metas])


def insert_trial_attr(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> bool:
    """Whether this process is the first to give a trial an attribute, which one that has ended may get too.

    Optuna's own way replaces what is there, and refuses trials that have ended.
    """
    engine = engine_of(study._storage)
    if engine is None:  # a storage in memory has one process
        first = key not in trial.user_attrs and trial.state == TrialState.RUNNING
        if first:
            study._storage.set_trial_user_attr(trial._trial_id, key, value)
        return first or key not in trial.user_attrs
    row = {"trial": trial._trial_id, "key": key, "value": json.dumps(value)}
    try:
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, :key, :value)"), row
            )
    except IntegrityError:
        return False
    trial.user_attrs[key] = value  # Optuna keeps a trial that has ended in memory, and does not read it again
    return True


def study_system_attrs(study: optuna.Study, prefixes: Sequence[str]) -> dict[str, Any]:
    """The attributes of a study that Optuna's own programs use, those whose keys begin with one of the prefixes."""
    engine = engine_of(study._storage)
    if engine is None:
        known = study._storage.get_study_system_attrs(study._study_id)
        return {key: value for key, value in known.items() if key.startswith(tuple(prefixes))}
    found: dict[str, Any] = {}
    statement = text("SELECT key, value_json FROM study_system_attributes WHERE study_id = :study AND key LIKE :like")
    with engine.connect() as connection:
        for prefix in prefixes:  # an underscore stands for any character there
            rows = connection.execute(statement, {"study": study._study_id, "like": f"{prefix}%"})
            found |= {key: json.loads(value) for key, value in rows if key.startswith(prefix)}
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
        if rows:
            connection.execute(
                text("INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (:study, :key, :value)"),
                rows,
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

    def insert() -> bool:
        try:
            with engine.begin() as connection:
                connection.execute(_CLAIM, row)
        except IntegrityError:
            return False
        return True

    return persistently(_backend(study), insert)


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

    def look() -> set[int]:
        with engine.connect() as connection:
            return set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())

    beating = persistently(_backend(study), look)
    return [trial for trial in running if trial._trial_id not in beating]


def with_stale_heartbeat(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials whose heartbeat stopped: the process behind them is dead."""
    backend = _backend(study)
    if not isinstance(backend, RDBStorage) or backend.heartbeat_interval is None:
        return []
    stale = set(backend._get_stale_trial_ids(study._study_id))
    return [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if t._trial_id in stale]


def artifact_ids(study: optuna.Study) -> set[str]:
    """The ids of the artifacts that a study and its trials list, those uploaded in the dashboard too."""
    listed = [study._storage.get_study_system_attrs(study._study_id)]
    listed += [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
    return {key.removeprefix(_ARTIFACT) for attrs in listed for key in attrs if key.startswith(_ARTIFACT)}
