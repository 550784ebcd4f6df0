"""The folder of a storage's files: where it lies, whether it can be used, and files in it, each whole or not there."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from ....errors import StudyError, one_line
from ....files import whole_file
from .addresses import database_file, is_sqlite, location_in, parse_url
from .locations import folder_at, is_local


def artifact_folder(url: str) -> Path:
    """Where a storage's artifacts lie: where its URL says, else beside a SQLite file or in `studies`."""
    address = parse_url(url)
    if (location := location_in(url)) is not None:
        return folder_at(location) / "artifacts"
    folder = database_file(address).parent if is_sqlite(address) else Path("studies").absolute()
    return folder / "artifacts"


class NetworkStore(FileSystemArtifactStore):
    """A folder of artifacts, each of them whole and on the disk before it has its name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            return self._place(artifact_id).open("rb")
        except FileNotFoundError as error:
            raise ArtifactNotFound("not found") from error
        except Exception as error:
            if is_local(self.folder):
                raise
            # Whatever the driver of that place raises.
            raise StudyError(f"cannot reach {self.folder}, where the study's files lie: {one_line(error)}") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with whole_file(self._place(artifact_id)) as draft, draft.open("wb") as file:
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        try:
            self._place(artifact_id).unlink()
        except FileNotFoundError as error:
            raise ArtifactNotFound("not found") from error

    def _place(self, name: str) -> Path:
        """The file of a name, which leads nowhere else."""
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"Invalid artifact_id: {name}")
        return self.folder / name


def check_artifact_folder(url: str) -> None:
    """Checks, and makes nothing, that networks can be kept where a storage's artifacts lie; no folder is fine.

    Raises:
        StudyError: If what lies there is no folder, or may not be written.
    """
    folder = artifact_folder(url)
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder}, where the study's networks are to be kept, is no folder; move it away")
    if not is_local(folder):
        _check_remote(folder)
    elif folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{folder}, where the study's networks are to be kept, may not be written")


def _check_remote(folder: Path) -> None:
    """Writes a file and removes it again: nothing else tells whether that may be done."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        with probe.open("wb") as file:
            file.write(b"branchfold")
        probe.unlink()
    except Exception as error:  # whatever the driver of that place raises
        reason = one_line(error)
        raise StudyError(
            f"{folder}, where the study's networks are to be kept, may not be written: {reason}"
        ) from error


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


def checksum_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
