"""The tables brought up to date in one transaction, by one process at a time; a SQLite file is copied first."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from ..tables.views import make_views
from .attributes import move_attributes
from .state import HEAD, VERSION_TABLE

_SCRIPTS = Path(__file__).parent
# Of PostgreSQL's advisory locks, the one that is held while tables are made: "branch" in ASCII.
LOCK = 0x6272616E6368


def upgrade(engine: Engine, path: Path | None, *, keep_copy: bool) -> Path | None:
    """Brings our tables to this version's form, and what attributes held into them; all or nothing.

    Args:
        engine: Of the database, which has Optuna's tables.
        path: Of a SQLite database.
        keep_copy: Whether a SQLite database is copied first, beside itself.

    Returns:
        Where the copy is; None if there is none, or another process was faster.

    Raises:
        SQLAlchemyError: If the database cannot be written.
        OSError: If the copy cannot be.
    """
    with engine.connect() as connection, _alone(connection):
        before = _revision(connection)
        if before == HEAD:
            return None
        kept = _copied(path, connection) if path is not None and keep_copy else None
        try:
            _run_revisions(connection)
            make_views(connection)
            if before is None:
                move_attributes(connection)
            connection.commit()
        except BaseException:
            connection.rollback()
            if kept is not None:  # nothing was changed
                kept.unlink(missing_ok=True)
            raise
    return kept


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction that no other process's upgrade runs beside; it sees what the one before it did."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    try:
        yield
    finally:
        connection.rollback()


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def _run_revisions(connection: Connection) -> None:
    from alembic.config import Config  # a tenth of a second, which a database that is up to date need not wait
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(_SCRIPTS / "versions").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(
        connection,
        opts={"version_table": VERSION_TABLE, "fn": lambda revision, context: scripts._upgrade_revs(HEAD, revision)},
    )
    with Operations.context(context):
        context.run_migrations()


def _copied(path: Path, connection: Connection) -> Path:
    """Copies a SQLite database to the first free `NAME.before-N` beside it, whole or not at all."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft)) as target:
            source.backup(target)
        for number in count(1):
            place = path.with_name(f"{path.name}.before-{number}")
            try:
                os.link(draft, place)  # never replaces another
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                if place.exists():
                    continue
                draft.rename(place)
            return place
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                draft.with_name(draft.name + suffix).unlink()
    raise AssertionError("numbers do not end")
