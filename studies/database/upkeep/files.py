"""The files beside a database: which rows name them, and which are left of what is no more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, column, create_engine, delete, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from ....errors import StudyError
from ..places.addresses import database_file, is_sqlite, parse_url
from ..places.locations import modified
from ..places.store import artifact_folder
from ..tables.models import Baseline, File, Network, table_of
from ..tables.names import NETWORK
from ..tables.storage import StudyStorage

_ARTIFACT = "artifacts:"
# What `whole_file` and the store call a file that is being written; one that is older than a day is nobody's.
_DRAFT = re.compile(r"\.[0-9a-f]{32}")
_DRAFT_AGE = 24 * 3600


class LeftFile(NamedTuple):
    """A file that no row names, and its bytes."""

    path: Path
    size: int


def named_files(engine: Engine) -> set[str]:
    """The files that a database's rows name, ours and Optuna's."""
    with engine.connect() as connection:
        return set(_named(connection))


def files_of(trial: FrozenTrial) -> set[str]:
    """The files that a trial names."""
    listed = {key.removeprefix(_ARTIFACT) for key in trial.system_attrs if key.startswith(_ARTIFACT)}
    return listed | ({trial.user_attrs[NETWORK]} if NETWORK in trial.user_attrs else set())


def left_files(storage: StudyStorage) -> list[LeftFile]:
    """The files that the database had beside it and nothing names any more, and drafts that were never finished.

    A file that another database in the same folder names stays, a copy that was kept before an upgrade among them.

    Raises:
        StudyError: If another database in the folder cannot be read, so that nobody knows what it names.
    """
    folder = artifact_folder(storage.url)
    with storage.engine.connect() as connection:
        noted = set(connection.execute(select(table_of(File).c.file)).scalars())
    left = {name for name in noted - named_files(storage.engine) if (folder / name).is_file()}
    for neighbour in _neighbours(storage.url) if left else ():
        left -= _named_by(neighbour)
    return [LeftFile(folder / name, (folder / name).stat().st_size) for name in sorted(left)] + _drafts(folder)


def remove_files(storage: StudyStorage, names: set[str]) -> int:
    """Removes files beside the database that were looked through by the caller; returns how many were there."""
    folder, removed = artifact_folder(storage.url), 0
    for name in names:
        with suppress(FileNotFoundError):
            (folder / name).unlink()
            removed += 1
    if storage.tables and names:
        with storage.engine.begin() as connection:
            connection.execute(delete(table_of(File)).where(table_of(File).c.file.in_(names)))
    return removed


def _named(connection: Connection) -> Iterator[str]:
    """Files that rows name; a database that Optuna alone made has no rows of ours."""
    for of in ("study", "trial"):
        listed = table(f"{of}_system_attributes", column("key"), column("value_json"))
        names = select(listed.c.key).where(listed.c.key.startswith(_ARTIFACT, autoescape=True))
        names = names.where(listed.c.value_json != '"null"')  # taken off the list by the dashboard
        yield from (key.removeprefix(_ARTIFACT) for key in connection.execute(names).scalars())
    network, baseline = table_of(Network), table_of(Baseline)
    if not inspect(connection).has_table(network.name):
        return
    for named in (network.c.file, baseline.c.file, baseline.c.copy, baseline.c.taught):
        yield from connection.execute(select(named).where(named.is_not(None))).scalars()


def _neighbours(url: str) -> list[Path]:
    """The other SQLite databases in a SQLite database's folder, whose files lie in the same place."""
    address = parse_url(url)
    if not is_sqlite(address):
        return []
    own = database_file(address)
    files = (path for path in own.parent.iterdir() if path.is_file() and path != own)
    return [path for path in files if _is_database(path)]


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _named_by(path: Path) -> set[str]:
    engine = create_engine(f"sqlite:///{path}")
    try:
        if not inspect(engine).has_table("trial_system_attributes"):
            return set()
        return named_files(engine)
    except SQLAlchemyError as error:
        raise StudyError(
            f"{path} lies in the same folder and cannot be read, and its networks may be among those that this "
            f"database has no use for: move it away first"
        ) from error
    finally:
        engine.dispose()


def _drafts(folder: Path) -> list[LeftFile]:
    """Files that a process which died began to write."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if _DRAFT.fullmatch(path.name) and path.is_file() and time.time() - modified(path) > _DRAFT_AGE:
            found.append(LeftFile(path, path.stat().st_size))
    return found
