"""Studies deleted together with the files of their networks."""

from __future__ import annotations

from contextlib import suppress

import optuna
from optuna.storages import RDBStorage

from ..artifacts import artifact_folder
from ..optuna_internals import artifact_ids


def delete_alone(storage: RDBStorage, name: str) -> int:
    """Deletes one study and its networks, and returns how many files that were.

    Files that another study of the storage lists as well stay: a copied study shares them. They go last, so that what
    is cut short leaves files without a study, never a study without its files.
    """
    ids = artifact_ids(optuna.load_study(storage=storage, study_name=name))
    optuna.delete_study(storage=storage, study_name=name)
    others = optuna.get_all_study_names(storage) if ids else []
    for other in others:
        ids -= artifact_ids(optuna.load_study(storage=storage, study_name=other))
    folder, removed = artifact_folder(storage.url), 0
    for artifact in ids:
        with suppress(FileNotFoundError):
            (folder / artifact).unlink()
            removed += 1
    return removed
