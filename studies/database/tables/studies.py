"""A study's values as rows, and rows as a study's values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from ..attributes import DEFINITION, FINGERPRINT, IDENTITY, METRIC
from .models import Base, Baseline, Definition, Group, table_of
from .names import (
    BASELINE,
    CHECKSUM,
    COPY,
    GROUPS,
    NETWORK,
    TAUGHT,
    TAUGHT_CHECKSUM,
    TAUGHT_COMPUTE,
    by_todays_names,
)
from .statements import as_json, put, replace_rows
from .trials import note_files

HELD = frozenset({DEFINITION, FINGERPRINT, IDENTITY, METRIC, BASELINE, GROUPS})
_OF_BASELINE = (
    *("metric", "examples", "macs", "parameters", "source", CHECKSUM, COPY),
    *(TAUGHT, TAUGHT_CHECKSUM, TAUGHT_COMPUTE),
)
_OF_GROUP = ("name", "width", "resolution", "saves", "errors")
_OF_METRIC = {"name": "metric", "unit": "metric_unit", "kind": "metric_kind", "higher_is_better": "higher_is_better"}
_BUDGETS = ("macs", "parameters", "latency")


def write_study(connection: Connection, study_id: int, values: Mapping[str, Any]) -> None:
    """Writes those of a study's values that the tables hold; a None takes away what was there."""
    key, row = {"study_id": study_id}, _definition_row(values)
    if row:
        put(connection, Definition, [{**key, **row}])
    if BASELINE in values:
        connection.execute(delete(table_of(Baseline)).where(table_of(Baseline).c.study_id == study_id))
        if values[BASELINE] is not None:
            add_baseline(connection, study_id, values[BASELINE])
    if GROUPS in values:
        groups = [
            {
                "position": position,
                **group,
                "resolution": as_json(group["resolution"]),
                "errors": as_json(group["errors"]),
            }
            for position, group in enumerate(values[GROUPS] or ())
        ]
        replace_rows(connection, Group, key, groups)


def add_baseline(connection: Connection, study_id: int, record: Mapping[str, Any]) -> None:
    """Inserts a study's baseline.

    Raises:
        IntegrityError: If it has one.
    """
    baseline = _baseline_row(record)
    connection.execute(insert(table_of(Baseline)).values(study_id=study_id, **baseline))
    note_files(connection, [baseline[name] for name in ("file", COPY, TAUGHT) if baseline.get(name)])


def read_study(connection: Connection, study_id: int) -> dict[str, Any]:
    """What the tables hold of a study."""
    values: dict[str, Any] = {}
    for row in _rows(connection, Definition, study_id):
        values |= {
            key: json.loads(text) for key in (DEFINITION, FINGERPRINT) if (text := getattr(row, key)) is not None
        }
        if row.identity is not None:
            values[IDENTITY] = row.identity
        if row.metric is not None:
            values[METRIC] = {name: getattr(row, column) for name, column in _OF_METRIC.items()}
    for row in _rows(connection, Baseline, study_id):
        values[BASELINE] = _baseline(row)
    groups = _rows(connection, Group, study_id)
    if groups:
        texts = ("resolution", "errors")
        values[GROUPS] = [
            {name: json.loads(getattr(row, name)) if name in texts else getattr(row, name) for name in _OF_GROUP}
            for row in groups
        ]
    return values


def _definition_row(values: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if (tables := values.get(DEFINITION)) is not None:
        study, budget = tables.get("study", {}), tables.get("study", {}).get("budget") or {}
        row |= {
            "network": tables.get("model", {}).get("factory"),
            "data": tables.get("data", {}).get("name"),
            "task": tables.get("task", {}).get("name"),
            "objectives": ", ".join(study.get("objectives", ())),
            "trials": study.get("trials"),
            "seed": study.get("seed"),
            **{f"budget_{name}": budget.get(name) for name in _BUDGETS},
        }
    row |= {key: as_json(values[key]) for key in (DEFINITION, FINGERPRINT) if key in values}
    if IDENTITY in values:
        row["identity"] = values[IDENTITY]
    if METRIC in values:
        row |= {column: (values[METRIC] or {}).get(name) for name, column in _OF_METRIC.items()}
    return row


def _baseline_row(record: Mapping[str, Any]) -> dict[str, Any]:
    record = by_todays_names(record)
    low, high = record.get("interval") or (None, None)
    more = {key: record[key] for key in record.keys() - {*_OF_BASELINE, "interval", NETWORK}}
    row = {key: record.get(key) for key in _OF_BASELINE}
    return {**row, "low": low, "high": high, "file": record.get(NETWORK), "more": as_json(more or None)}


def _baseline(row: Row[Any]) -> dict[str, Any]:
    record = {key: getattr(row, key) for key in _OF_BASELINE}
    record |= {NETWORK: row.file, "interval": None if row.low is None else [row.low, row.high]}
    return {key: value for key, value in record.items() if value is not None} | json.loads(row.more or "{}")


def _rows(connection: Connection, model: type[Base], study_id: int) -> list[Row[Any]]:
    table = table_of(model)
    found = select(table).where(table.c.study_id == study_id).order_by(*table.primary_key)
    return list(connection.execute(found))
