"""What a study's baseline says of the training images, kept as a file beside the baseline's own.

It is computed once for all trials that are distilled. Whoever needs it first makes it; a file that is gone or damaged
is made again.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from contextlib import suppress

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound

from ...errors import StudyError
from .places.store import NetworkStore
from .tables.names import BASELINE, NETWORK, TAUGHT, TAUGHT_CHECKSUM, TAUGHT_COMPUTE

_SUFFIX = ".taught"


def taught_file(study: optuna.Study, store: NetworkStore) -> bytes | None:
    """The file's content; None where there is none, or it is not what was kept."""
    record = study.user_attrs.get(BASELINE, {})
    if record.get(TAUGHT) is None:
        return None
    try:
        with store.open_reader(record[TAUGHT]) as reader:
            content = reader.read()
    except ArtifactNotFound:
        return None
    except OSError as error:
        raise StudyError(f"cannot read {store.folder / record[TAUGHT]}: {error.strerror}") from error
    return content if hashlib.sha256(content).hexdigest() == record.get(TAUGHT_CHECKSUM) else None


def keep_taught(study: optuna.Study, store: NetworkStore, content: bytes, compute: float) -> bool:
    """Keeps the file of a study that has none, or a damaged one; what making it cost is added to what was spent.

    The file has a name of its own and is whole before the study names it: nobody reads half a one, and of two
    processes that made one at once the study keeps the first's.

    Args:
        study: The study, which has a baseline.
        store: Where its files lie.
        content: Of the file.
        compute: Spent on it, in epochs of the baseline's training.

    Returns:
        Whether the file is the study's now.

    Raises:
        StudyError: If it cannot be written.
    """
    first = taught_file(study, store) is None
    record = study.user_attrs[BASELINE]
    spent = {TAUGHT_COMPUTE: record.get(TAUGHT_COMPUTE, 0.0) + compute}
    if not first:
        study.set_user_attr(BASELINE, {**record, **spent})
        return False
    name = f"{record[NETWORK]}.{uuid.uuid4().hex[:8]}{_SUFFIX}"
    try:
        store.write(name, io.BytesIO(content))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(f"cannot keep what the baseline says of the training images: {reason}") from error
    kept = {TAUGHT: name, TAUGHT_CHECKSUM: hashlib.sha256(content).hexdigest()}
    study.set_user_attr(BASELINE, {**record, **kept, **spent})
    if record.get(TAUGHT) is not None:
        with suppress(OSError):
            (store.folder / record[TAUGHT]).unlink(missing_ok=True)
    return True
