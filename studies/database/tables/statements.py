"""The few statements that rows are written with, on every database alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from .models import Base, table_of


def as_json(value: Any) -> str | None:
    """A value as the text of a column; None stays None."""
    return None if value is None else json.dumps(value)


def put(connection: Connection, model: type[Base], key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Gives the row of this key these values, its others as they are; a row that is missing is made.

    A row is written by one process only, the one that runs its trial: nobody else inserts it in between.
    """
    table = table_of(model)
    here = and_(*(table.c[name] == value for name, value in key.items()))
    if values:
        if connection.execute(update(table).where(here).values(**values)).rowcount:
            return
    elif connection.execute(select(next(iter(table.c))).where(here)).first() is not None:
        return
    connection.execute(insert(table).values(**key, **values))


def replace_rows(
    connection: Connection, model: type[Base], key: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Replaces all rows of this key."""
    table = table_of(model)
    connection.execute(table.delete().where(*(table.c[name] == value for name, value in key.items())))
    if rows:
        connection.execute(insert(table), [{**key, **row} for row in rows])
