"""Networks kept with a study: checkpoint files as Optuna artifacts, which optuna-dashboard lists and downloads."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from ....errors import StudyError
from ....files import whole_file
from ..optuna_internals import add_baseline, list_artifact, set_user_attrs
from ..tables.names import BASELINE as BASELINE
from ..tables.names import CHECKSUM, COPY
from ..tables.names import NETWORK as NETWORK
from .locations import is_local
from .store import NetworkStore, checksum_of

# Of a study's attributes, one for each file that was exported from it: this and the file's SHA-256.
_EXPORT = "export:"
# What is left to do where a study's baseline cannot be had again.
_ANEW = "start a new study with --set study.name=…"
# Behind a baseline's artifact id: the name of its file's second copy, which no dashboard lists.
_COPY_SUFFIX = ".copy"
_CHUNK = 1 << 20


class _Placing(NetworkStore):
    """The store while it takes a file that lies in its folder under another name: Optuna lists before it writes."""

    def __init__(self, folder: Path, draft: str) -> None:
        super().__init__(folder)
        self.draft = folder / draft

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        rename = self.draft.replace if is_local(self.draft) else self.draft.rename
        rename(self._place(artifact_id))


def upload_network(
    trial_or_study: optuna.Trial | optuna.Study, storage: BaseStorage, store: NetworkStore, path: Path
) -> dict[str, Any]:
    """Copies a checkpoint into the store, and returns its artifact id and SHA-256 by the names they are recorded by.

    The copy is whole and on the disk before Optuna lists it: a process that dies on the way, or a full disk, leaves a
    trial without a network, never half a one.

    Raises:
        StudyError: If the file cannot be copied, for example because the disk is full.
    """
    draft = f".{uuid.uuid4().hex}"
    try:
        with path.open("rb") as network:
            store.write(draft, network)
        checksum = checksum_of(store.folder / draft)
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
    return {NETWORK: artifact, CHECKSUM: checksum}


def attach_network(trial: optuna.Trial, storage: BaseStorage, store: NetworkStore, path: Path, **more: Any) -> str:
    """Uploads a trial's checkpoint, and then records it in one transaction with `more` values; returns its id.

    Raises:
        StudyError: If the file cannot be copied.
    """
    kept = upload_network(trial, storage, store, path)
    set_user_attrs(trial, {**kept, **more})
    return str(kept[NETWORK])


def fetch_network(study: optuna.Study, trial: FrozenTrial, store: NetworkStore, destination: Path) -> Path:
    """Copies the trial's checkpoint to `destination`, replacing what is there, and returns that path.

    Raises:
        StudyError: If the trial has no network, or its file is gone or damaged.
    """
    artifact = trial.user_attrs.get(NETWORK)
    if artifact is None:
        state = trial.state.name.lower()
        raise StudyError(
            f"trial {trial.number} of {study.study_name!r} ({state}) kept no network; "
            f"`branchfold show {study.study_name}` lists the trials"
        )
    what = f"the network of trial {trial.number} of {study.study_name!r}"
    otherwise = f"give the trial up: `branchfold delete {study.study_name} --trial {trial.number}`"
    return _copy(artifact, store, destination, what, trial.user_attrs.get(CHECKSUM), otherwise)


def save_baseline(
    study: optuna.Study,
    storage: BaseStorage,
    store: NetworkStore,
    path: Path,
    record: dict[str, Any],
) -> dict[str, Any]:
    """Keeps the study's baseline with a second copy of its file, and returns its record.

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
        kept = upload_network(study, storage, store, path)
        copy = _second_copy(kept[NETWORK], store, path)
        if not add_baseline(study, {**record, **kept, COPY: copy}):
            (store.folder / copy).unlink(missing_ok=True)
    return dict(study.user_attrs[BASELINE])


def load_baseline(
    study: optuna.Study, store: NetworkStore, destination: Path, told: Callable[[str], None] | None = None
) -> dict[str, Any] | None:
    """Copies the baseline's checkpoint to `destination` and returns its record; None if there is no baseline yet.

    A file that is gone or damaged is restored from its second copy, and `told` receives a line about it.

    Raises:
        StudyError: If both are gone or damaged.
    """
    record: dict[str, Any] | None = study.user_attrs.get(BASELINE)
    if record is None:
        return None
    what, artifact, copy = f"the baseline of {study.study_name!r}", record[NETWORK], record.get(COPY)
    try:
        _copy(artifact, store, destination, what, record.get(CHECKSUM))
    except _LostError as lost:
        try:
            _copy(str(copy), store, store.folder / artifact, what, record.get(CHECKSUM))
        except _LostError:
            raise lost from None
        list_artifact(study, artifact, f"{study.study_name}-baseline.safetensors")
        _copy(artifact, store, destination, what, record.get(CHECKSUM))
        if told is not None:
            told(f"{what} was restored from its second copy: {lost.found}")
    if copy is None or not (store.folder / copy).exists():  # an earlier version's baseline had none
        kept = {CHECKSUM: checksum_of(destination), COPY: _second_copy(artifact, store, destination)}
        record = {**record, **kept}
        study.set_user_attr(BASELINE, record)
    return record


def record_export(study: optuna.Study, digest: str, record: dict[str, Any]) -> None:
    """Keeps what was found of an exported file, in JSON types, under its SHA-256."""
    study.set_user_attr(_EXPORT + digest, record)


def is_recorded_export(storage: BaseStorage, digest: str) -> bool:
    """Whether a file of this SHA-256 was exported from any study of a storage."""
    studies = storage.get_all_studies()
    return any(_EXPORT + digest in study.user_attrs for study in studies)


class _LostError(StudyError):
    """A file of a study's that is gone, or is not what it was.

    Args:
        message: For the user.
        found: What became of the file.
    """

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found


def _second_copy(artifact: str, store: NetworkStore, path: Path) -> str:
    """Copies a baseline's checkpoint beside its artifact, and returns the copy's name.

    Raises:
        StudyError: If it cannot be written.
    """
    name = f"{artifact}{_COPY_SUFFIX}"
    try:
        with path.open("rb") as network:
            store.write(name, network)
    except OSError as error:
        raise StudyError(f"cannot keep a second copy of the baseline {path}: {error.strerror}") from error
    return name


def _copy(
    artifact: str, store: NetworkStore, destination: Path, what: str, checksum: str | None, otherwise: str = _ANEW
) -> Path:
    """Copies a file out of the store; not if its SHA-256 is another than the recorded one, where there is one.

    Args:
        artifact: The file's name in the store.
        store: Where it lies.
        destination: Where it goes.
        what: It is, for messages.
        checksum: Its SHA-256 when it was kept; None if that is not known.
        otherwise: What is left to do where the file cannot be had again.
    """
    digest = hashlib.sha256()
    try:
        with store.open_reader(artifact) as reader, whole_file(destination) as draft, draft.open("wb") as file:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            if checksum not in (None, digest.hexdigest()):
                raise _LostError(
                    f"{what} is damaged: artifact {artifact} is not the file that was kept (its SHA-256 differs); put "
                    f"the folder `artifacts` back, {store.folder}, or {otherwise}",
                    "its file was damaged",
                )
    except ArtifactNotFound:
        raise _LostError(
            f"{what} is missing: no artifact {artifact}; put the folder `artifacts` back, "
            f"{store.folder}, or {otherwise}",
            "its file was gone",
        ) from None
    except OSError as error:
        raise StudyError(f"cannot write {destination}: {error.strerror}; choose another place") from error
    return destination
