"""How a database is connected to, so that many processes share it and a server may restart."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy.engine import URL

from .addresses import is_sqlite

# Seconds. With 24 workers a wait of 60 s lost no write (SQLite's default of 5 s did).
LOCK_TIMEOUT = 60
# How long opening waits for another process's lock, or for a server, before it says so.
OPENING_TIMEOUT = 10


class StudyConnection(sqlite3.Connection):
    """A connection with foreign keys that syncs at checkpoints only: a write-ahead log stays consistent that way.

    Given to SQLite as `factory`, so that it is used by every engine, also by those of unpickled storages: a
    listener attached to one engine is lost there. The log itself is switched on once, when the
    file is made or opened, and stays.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA synchronous = NORMAL").close()
        # Nothing is written of a study or trial that is no more.
        self.execute("PRAGMA foreign_keys = ON").close()


def options_of(address: URL) -> dict[str, Any]:
    """An engine's options: those under which many processes share a database, and a server may restart."""
    if is_sqlite(address):
        return {"connect_args": {"timeout": LOCK_TIMEOUT, "factory": StudyConnection}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_driver_name().startswith("psycopg") and "connect_timeout" not in address.query:
        options["connect_args"] = {"connect_timeout": OPENING_TIMEOUT}
    return options
