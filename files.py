"""Files written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives the path of an empty draft beside `path`, for the block to write; when it ends, the draft takes the place.

    The draft is on the disk by then, with the mode of any new file. An error leaves what was at `path`, and no draft.
    A file of another place than this machine's file system is drafted here and sent whole.

    Args:
        path: of the file; its folder is made where it is missing.

    Raises:
        OSError: if the draft cannot be written or take the place.
    """
    if not isinstance(path, Path):
        with _whole_object(path) as draft:
            yield draft
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}")
    try:
        draft.touch()
        mode = draft.stat().st_mode
        yield draft
        draft.chmod(mode)  # safetensors makes its files private
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def _whole_object(path: Path) -> Iterator[Path]:
    """Likewise in an object store, where a file is there once all of it was sent."""
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        draft = Path(folder) / "draft"
        draft.touch()
        yield draft
        try:
            with draft.open("rb") as reading, path.open("wb") as writing:
                shutil.copyfileobj(reading, writing)
        except OSError:
            raise
        except Exception as error:  # drivers raise errors of their own
            raise OSError(0, f"{type(error).__name__}: {error}") from error
