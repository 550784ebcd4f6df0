"""The few statements that rows are written with, on every database alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Executable, and_, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .models import Base, table_of


def as_json(value: Any) -> str | None:
    """A value as the text of a column; None stays None."""
    return None if value is None else json.dumps(value)


def put(connection: Connection, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Gives the rows of these keys these values, their other columns as they are; rows that are missing are made.

    Args:
        connection: in a transaction.
        model: of the table.
        rows: each with its key and its values, all of the same columns; none at all writes nothing.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect in ("sqlite", "postgresql"):
        connection.execute(_upsert(model, tuple(rows[0]), dialect), [dict(row) for row in rows])
    else:
        for row in rows:
            _put_one(connection, model, row)


@cache  # making one costs more than running it
def _upsert(model: type[Base], columns: tuple[str, ...], dialect: str) -> Executable:
    table = table_of(model)
    keys = [key.name for key in table.primary_key]
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    replaced = {name: statement.excluded[name] for name in columns if name not in keys}
    if replaced:
        return statement.on_conflict_do_update(index_elements=keys, set_=replaced)
    return statement.on_conflict_do_nothing(index_elements=keys)


def _put_one(connection: Connection, model: type[Base], row: Mapping[str, Any]) -> None:
    """The same on other databases: a row is written by one process only, and nobody inserts it in between."""
    table = table_of(model)
    keys = [key.name for key in table.primary_key]
    here = and_(*(table.c[key] == row[key] for key in keys))
    values = {name: value for name, value in row.items() if name not in keys}
    if connection.execute(select(table.c[keys[0]]).where(here)).first() is None:
        connection.execute(insert(table).values(**row))
    elif values:
        connection.execute(update(table).where(here).values(**values))


def replace_rows(
    connection: Connection, model: type[Base], key: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Replaces all rows of this key."""
    table = table_of(model)
    connection.execute(table.delete().where(*(table.c[name] == value for name, value in key.items())))
    if rows:
        connection.execute(insert(table), [{**key, **row} for row in rows])
