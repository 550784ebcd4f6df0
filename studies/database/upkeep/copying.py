"""A database copied whole into another, of another kind too, with the files beside it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from optuna.storages._rdb.models import BaseModel
from sqlalchemy import Connection, Integer, Table, func, insert, select, table, text
from sqlalchemy.engine import URL

from ....errors import StudyError
from ....files import whole_file
from ..places.addresses import FAILURES, database_file, failure, is_sqlite, location_in, parse_url, shown_url
from ..places.store import artifact_folder, checksum_of
from ..places.whereabouts import located, remember
from ..storage import open_storage
from ..tables.models import OURS, Place, table_of
from ..tables.storage import StudyStorage
from .files import named_files

# What a new database has already: the versions of Optuna's tables and of ours.
_VERSIONS = {"version_info", "alembic_version"}
_AT_ONCE = 1000


class Copied(NamedTuple):
    """What was copied."""

    studies: int
    trials: int
    files: int


def copy_database(source: str, target: str) -> Copied:
    """Copies all studies of a database, as they are at one moment, and the files beside it, into a new one.

    The files go first: what is cut short leaves files that nothing names, never rows without their files. A new SQLite
    database is there when it is whole; into a server's, all goes in one transaction.

    Args:
        source: URL of a database.
        target: URL of one that is not there yet, or is empty.

    Raises:
        StudyError: If the target holds anything, a file there is another one, or either cannot be used.
    """
    opened = open_storage(source, create=False)
    if not opened.tables:
        raise StudyError(f"{shown_url(source)} holds no study that branchfold made; there is nothing to copy")
    address, target = parse_url(target), located(target)
    if is_sqlite(address) and database_file(address).exists():
        raise StudyError(f"{database_file(address)} is there already and is not replaced; choose another place")
    with _new(address) as written:
        try:
            with opened.engine.connect() as reading, written.engine.begin() as writing:
                _one_moment(reading)
                _check_empty(writing, address)
                files = _copy_files(opened, target)
                for each in _tables():
                    _copy_rows(reading, writing, each)
                if (location := location_in(target)) is not None:
                    remember(writing, location)
                studies, trials = (_count(writing, name) for name in ("studies", "trials"))
        except FAILURES as error:
            raise failure(address, error) from error
    return Copied(studies, trials, files)


def _tables() -> list[Table]:
    """Optuna's tables and ours, those that others refer to first; where the files lie is each database's own."""
    optunas: Sequence[Table] = BaseModel.metadata.sorted_tables
    return [
        *(each for each in optunas if each.name not in _VERSIONS),
        *(table_of(model) for model in OURS if model is not Place),
    ]


def _count(connection: Connection, name: str) -> int:
    return int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())


@contextmanager
def _new(address: URL) -> Iterator[StudyStorage]:
    """The storage to copy into; a SQLite one is made under another name, and takes its own when all went well."""
    if not is_sqlite(address):
        yield open_storage(address.render_as_string(hide_password=False), create=True)
        return
    path = database_file(address)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        storage = open_storage(str(address.set(database=str(draft))), create=True)
        yield storage
        storage.remove_session()
        storage.engine.dispose()  # the last connection writes the log into the file
        os.link(draft, path)  # unlike a rename, never replaces what is there by now
    except FileExistsError:
        raise StudyError(f"{path} is there by now and is not replaced; choose another place") from None
    except OSError as error:
        raise failure(address, error) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                draft.with_name(draft.name + suffix).unlink()


def _one_moment(reading: Connection) -> None:
    """All that is read is of one moment, whatever other processes write."""
    if reading.dialect.name == "sqlite":
        reading.exec_driver_sql("BEGIN")
    elif reading.dialect.name == "postgresql":
        reading.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def _check_empty(writing: Connection, address: URL) -> None:
    if _count(writing, "studies"):
        raise StudyError(f"{shown_url(address)} holds studies already, which stay; choose an empty database")


def _copy_rows(reading: Connection, writing: Connection, each: Table) -> None:
    rows = reading.execution_options(yield_per=_AT_ONCE).execute(select(each)).mappings()
    for part in rows.partitions():
        writing.execute(insert(each), [dict(row) for row in part])
    [*keys] = each.primary_key
    if writing.dialect.name == "postgresql" and len(keys) == 1 and isinstance(keys[0].type, Integer):
        # The next row gets the number after the last one.
        sequence = text("SELECT pg_get_serial_sequence(:table, :key)")
        name = writing.execute(sequence, {"table": each.name, "key": keys[0].name}).scalar()
        last = writing.execute(select(func.max(keys[0]))).scalar()
        if name is not None and last is not None:
            writing.execute(text("SELECT setval(:name, :last)"), {"name": name, "last": last})


def _copy_files(opened: StudyStorage, target: str) -> int:
    """Copies the files that rows name; what is there already must be the same."""
    here, there = artifact_folder(opened.url), artifact_folder(target)
    names = [name for name in sorted(named_files(opened.engine)) if (here / name).is_file()]
    if here == there:
        return len(names)
    for name in names:
        if (there / name).exists() and checksum_of(there / name) != checksum_of(here / name):
            raise StudyError(f"{there / name} is another file than {here / name} and is not replaced")
    for name in names:
        if not (there / name).exists():
            _copy_file(here / name, there / name)
    return len(names)


def _copy_file(path: Path, place: Path) -> None:
    with path.open("rb") as reading, whole_file(place) as draft, draft.open("wb") as writing:
        shutil.copyfileobj(reading, writing)
