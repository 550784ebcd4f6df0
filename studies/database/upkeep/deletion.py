"""Studies and trials deleted together with the files of their networks."""

from __future__ import annotations

import json

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, column, delete, insert, table, text

from ....errors import StudyError
from ..optuna_internals import artifact_ids
from ..tables.models import OF_TRIALS, table_of
from ..tables.names import BASELINE, COPY, NETWORK, TAUGHT
from ..tables.storage import StudyStorage
from .files import files_of, named_files, remove_files

# Attribute of a trial: how it ended; of a deleted one, this.
_NOTE = "note"
DELETED = "deleted"
# Of a trial, what Optuna's tables hold but for its parameters, which were proposed all the same.
_RESULTS = ("trial_values", "trial_intermediate_values", "trial_user_attributes", "trial_system_attributes")


def delete_alone(storage: RDBStorage, name: str) -> int:
    """Deletes one study and its networks, and returns how many files that were.

    Files that another study of the storage names as well stay: a copied study shares them. They go last, so that what
    is cut short leaves files without a study, never a study without its files.
    """
    assert isinstance(storage, StudyStorage)
    study = optuna.load_study(storage=storage, study_name=name)
    files = artifact_ids(study).union(*(files_of(trial) for trial in study.get_trials(deepcopy=False)))
    baseline = study.user_attrs.get(BASELINE) or {}
    files |= {baseline[key] for key in (NETWORK, COPY, TAUGHT) if baseline.get(key)}
    optuna.delete_study(storage=storage, study_name=name)
    return remove_files(storage, files - named_files(storage.engine))


def delete_trial(storage: StudyStorage, study: optuna.Study, trial: FrozenTrial) -> int:
    """Deletes what a trial found, with its network, and returns how many files that were.

    Its number and what it proposed stay, as a failed trial's: Optuna counts trials to number the next one. Files that
    another trial names as well stay.

    Raises:
        StudyError: If the trial is a study's of Optuna alone.
    """
    if not storage.tables:
        raise StudyError(f"study {study.study_name!r} was not made by branchfold: its trials are not deleted")
    files = files_of(trial)
    with storage.engine.begin() as connection:
        _clear(connection, trial._trial_id)
    return remove_files(storage, files - named_files(storage.engine))


def _clear(connection: Connection, trial_id: int) -> None:
    for name in (*_RESULTS, *(table_of(model).name for model in OF_TRIALS)):
        of_trial = table(name, column("trial_id"))
        connection.execute(delete(of_trial).where(of_trial.c.trial_id == trial_id))
    connection.execute(
        text(f"UPDATE trials SET state = '{TrialState.FAIL.name}' WHERE trial_id = :trial"), {"trial": trial_id}
    )
    attributes = table("trial_user_attributes", column("trial_id"), column("key"), column("value_json"))
    connection.execute(insert(attributes).values(trial_id=trial_id, key=_NOTE, value_json=json.dumps(DELETED)))
