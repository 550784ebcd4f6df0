"""Networks kept with a study: checkpoint files as Optuna artifacts, which optuna-dashboard lists and downloads."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from ...errors import StudyError
from .addresses import database_file, is_sqlite, parse_url

NETWORK = "network"
BASELINE = "baseline"


def artifact_folder(url: str) -> Path:
    """Returns where a storage's artifacts lie: `artifacts` beside a SQLite file, else `studies/artifacts`."""
    address = parse_url(url)
    folder = database_file(address).parent if is_sqlite(address) else Path("studies").absolute()
    return folder / "artifacts"


def artifact_store(url: str) -> FileSystemArtifactStore:
    """Returns the store of a storage's artifacts and creates its folder.

    Raises:
        StudyError: If the folder cannot be created.
    """
    folder = artifact_folder(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot create the folder of the study's networks {folder}: {error.strerror}") from error
    return FileSystemArtifactStore(folder)


def attach_network(
    trial_or_study: optuna.Trial | optuna.Study, storage: BaseStorage, store: FileSystemArtifactStore, path: Path
) -> str:
    """Copies a checkpoint into the store, records it with the trial or study, and returns its artifact id.

    The record is written last: a process that dies on the way leaves a trial without a network, never half a one.

    Raises:
        StudyError: If the file cannot be copied, for example because the disk is full.
    """
    try:
        artifact = upload_artifact(
            study_or_trial=trial_or_study, file_path=str(path), artifact_store=store, storage=storage
        )
    except OSError as error:
        raise StudyError(f"cannot keep the network {path} with its study: {error.strerror}") from error
    trial_or_study.set_user_attr(NETWORK, artifact)
    return artifact


def fetch_network(study: optuna.Study, trial: FrozenTrial, store: FileSystemArtifactStore, destination: Path) -> Path:
    """Copies the trial's checkpoint to `destination`, replacing what is there, and returns that path.

    Raises:
        StudyError: If the trial has no network, or its file is gone.
    """
    artifact = trial.user_attrs.get(NETWORK)
    if artifact is None:
        state = trial.state.name.lower()
        raise StudyError(
            f"trial {trial.number} of {study.study_name!r} ({state}) kept no network; "
            f"`branchfold show {study.study_name}` lists the trials"
        )
    return _copy(artifact, store, destination, f"the network of trial {trial.number} of {study.study_name!r}")


def save_baseline(
    study: optuna.Study,
    storage: BaseStorage,
    store: FileSystemArtifactStore,
    path: Path,
    record: dict[str, Any],
) -> dict[str, Any]:
    """Keeps the study's baseline and returns its record.

    The first one saved stays, because trials are measured against it: if another process was faster, its record
    is returned, and `load_baseline` gives its checkpoint.

    Args:
        study: The study.
        storage: Its storage.
        store: Where the checkpoint is copied to.
        path: The checkpoint.
        record: What is known of the baseline, in JSON types.
    """
    if BASELINE not in study.user_attrs:
        artifact = attach_network(study, storage, store, path)
        if BASELINE not in study.user_attrs:
            study.set_user_attr(BASELINE, {**record, NETWORK: artifact})
    return dict(study.user_attrs[BASELINE])


def load_baseline(study: optuna.Study, store: FileSystemArtifactStore, destination: Path) -> dict[str, Any] | None:
    """Copies the baseline's checkpoint to `destination` and returns its record; None if there is no baseline yet.

    Raises:
        StudyError: If the baseline's file is gone.
    """
    record: dict[str, Any] | None = study.user_attrs.get(BASELINE)
    if record is not None:
        _copy(record[NETWORK], store, destination, f"the baseline of {study.study_name!r}")
    return record


def _copy(artifact: str, store: FileSystemArtifactStore, destination: Path, what: str) -> Path:
    draft = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}")
    try:
        with store.open_reader(artifact) as reader:
            destination.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as writer:
                shutil.copyfileobj(reader, writer)
        draft.replace(destination)
    except ArtifactNotFound:
        raise StudyError(
            f"{what} is missing: no artifact {artifact}; put the folder `artifacts` back beside the database, "
            f"or start a new study with --set study.name=…"
        ) from None
    except OSError as error:
        raise StudyError(f"cannot write {destination}: {error.strerror}; choose another place") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return destination
