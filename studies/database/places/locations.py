"""Where files lie that belong to a database: a folder, or a place that fsspec reaches, such as `s3://bucket/studies`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from ....errors import StudyError

# What a place needs besides branchfold[cluster], as fsspec names it, and pip.
_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def is_remote(location: str) -> bool:
    """Whether a location is fsspec's, `SCHEME://…`, and not a folder."""
    return "://" in location and not location.startswith("file://")


def check_location(location: str) -> None:
    """Checks that a location holds no secret, since it is shown.

    Raises:
        StudyError: If it does; the text is not repeated then.
    """
    parts = urlsplit(location) if is_remote(location) else None
    if parts is not None and ("@" in parts.netloc or parts.query):
        raise StudyError(
            "artifacts= in the storage's URL holds more than a place; keys belong into the environment or the "
            "provider's own files, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws"
        )


def folder_at(location: str) -> Path:
    """The folder at a location; a remote one does what is asked of a `Path` here, though it is none.

    Raises:
        StudyError: If what reaches it is not installed, or no such kind of place is known.
    """
    if not is_remote(location):
        return Path(location.removeprefix("file://")).expanduser().absolute()
    scheme = location.partition("://")[0]
    shown = f"{scheme}://…"
    driver = _DRIVERS.get(scheme)
    try:
        universal = importlib.import_module("upath")
        if driver is not None:
            importlib.import_module(driver)
        return cast(Path, universal.UPath(location))
    except ImportError as error:
        more = "" if driver in (None, "s3fs") else f" {driver}"
        raise StudyError(
            f"files at {shown} need the Python module {error.name}; pip install 'branchfold[cluster]'{more}"
        ) from None
    except ValueError:
        raise StudyError(f"artifacts={shown}: no such kind of place is known; use a folder, s3:// or gs://") from None


def is_local(folder: Path) -> bool:
    """Whether a folder that `folder_at` gave is one of this machine's file system."""
    return isinstance(folder, Path)


def modified(file: Path) -> float:
    """When a file was written, in seconds since 1970; of a remote one as its store has it.

    Raises:
        OSError: If it is gone.
    """
    if is_local(file):
        return file.stat().st_mtime
    remote: Any = file
    return float(remote.fs.modified(remote.path).timestamp())
