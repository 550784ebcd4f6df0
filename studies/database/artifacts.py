"""Networks kept with a study: checkpoint files as Optuna artifacts, which optuna-dashboard lists and downloads."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ...files import whole_file
from .addresses import database_file, is_sqlite, parse_url

NETWORK = "network"
BASELINE = "baseline"
# Of a study's attributes, one for each file that was exported from it: this and the file's SHA-256.
_EXPORT = "export:"


def artifact_folder(url: str) -> Path:
    """Where a storage's artifacts lie: `artifacts` beside a SQLite file, else `studies/artifacts`."""
    address = parse_url(url)
    folder = database_file(address).parent if is_sqlite(address) else Path("studies").absolute()
    return folder / "artifacts"


class NetworkStore(FileSystemArtifactStore):
    """A folder of artifacts, each of them whole and on the disk before it has its name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with whole_file(self.folder / artifact_id) as draft, draft.open("wb") as file:
            shutil.copyfileobj(content_body, file)


class _Placing(NetworkStore):
    """The store while it takes a file that lies in its folder under another name: Optuna lists before it writes."""

    def __init__(self, folder: Path, draft: str) -> None:
        super().__init__(folder)
        self.draft = folder / draft

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self.draft.replace(self.folder / artifact_id)


def check_artifact_folder(url: str) -> None:
    """Checks, and makes nothing, that networks can be kept where a storage's artifacts lie; no folder is fine.

    Raises:
        StudyError: If what lies there is no folder, or may not be written.
    """
    folder = artifact_folder(url)
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder}, where the study's networks are to be kept, is no folder; move it away")
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{folder}, where the study's networks are to be kept, may not be written")


def artifact_store(url: str) -> NetworkStore:
    """The store of a storage's artifacts; its folder is made where it is missing.

    Raises:
        StudyError: If the folder cannot be created.
    """
    folder = artifact_folder(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot create the folder of the study's networks {folder}: {error.strerror}") from error
    return NetworkStore(folder)


def attach_network(
    trial_or_study: optuna.Trial | optuna.Study, storage: BaseStorage, store: NetworkStore, path: Path
) -> str:
    """Copies a checkpoint into the store, records it with the trial or study, and returns its artifact id.

    The copy is whole and on the disk before Optuna lists it, and the record is written last: a process that dies on the
    way, or a full disk, leaves a trial without a network, never half a one.

    Raises:
        StudyError: If the file cannot be copied, for example because the disk is full.
    """
    draft = f".{uuid.uuid4().hex}"
    try:
        with path.open("rb") as network:
            store.write(draft, network)
        artifact = upload_artifact(
            study_or_trial=trial_or_study,
            file_path=str(path),
            artifact_store=_Placing(store.folder, draft),
            storage=storage,
        )
    except OSError as error:
        raise StudyError(f"cannot keep the network {path} with its study: {error.strerror}") from error
    finally:
        with suppress(OSError):
            (store.folder / draft).unlink(missing_ok=True)
    trial_or_study.set_user_attr(NETWORK, artifact)
    return artifact


def fetch_network(study: optuna.Study, trial: FrozenTrial, store: NetworkStore, destination: Path) -> Path:
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
    store: NetworkStore,
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


def load_baseline(study: optuna.Study, store: NetworkStore, destination: Path) -> dict[str, Any] | None:
    """Copies the baseline's checkpoint to `destination` and returns its record; None if there is no baseline yet.

    Raises:
        StudyError: If the baseline's file is gone.
    """
    record: dict[str, Any] | None = study.user_attrs.get(BASELINE)
    if record is not None:
        _copy(record[NETWORK], store, destination, f"the baseline of {study.study_name!r}")
    return record


def record_export(study: optuna.Study, digest: str, record: dict[str, Any]) -> None:
    """Keeps what was found of an exported file, in JSON types, under its SHA-256."""
    study.set_user_attr(_EXPORT + digest, record)


def is_recorded_export(storage: BaseStorage, digest: str) -> bool:
    """Whether a file of this SHA-256 was exported from any study of a storage."""
    studies = storage.get_all_studies()
    return any(_EXPORT + digest in study.user_attrs for study in studies)


def _copy(artifact: str, store: NetworkStore, destination: Path, what: str) -> Path:
    try:
        with store.open_reader(artifact) as reader, whole_file(destination) as draft, draft.open("wb") as file:
            shutil.copyfileobj(reader, file)
    except ArtifactNotFound:
        raise StudyError(
            f"{what} is missing: no artifact {artifact}; put the folder `artifacts` back beside the database, "
            f"or start a new study with --set study.name=…"
        ) from None
    except OSError as error:
        raise StudyError(f"cannot write {destination}: {error.strerror}; choose another place") from error
    return destination
