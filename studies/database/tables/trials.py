"""A trial's values as rows, and rows as a trial's values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from .models import Base, File, Milestone, Network, Run, StageAlpha, Width, table_of
from .names import (
    ALPHAS,
    ANSWERS,
    CHECKSUM,
    FULL_WIDTHS,
    HISTORY,
    NETWORK,
    RECIPE,
    SHOWN,
    VERSIONS,
    WIDTHS,
    by_todays_names,
)
from .statements import as_json, put, replace_rows

# Values that are columns of the same name; columns of another name, and those of JSON text.
_OF_RUN = ("seed", "compute", "folding_error")
_TEXTS_OF_RUN = (RECIPE, VERSIONS)
_OF_NETWORK = tuple(name for name in table_of(Network).c.keys() if name not in ("trial_id", "file", ANSWERS))  # noqa: SIM118
_OF_MILESTONE = tuple(name for name in table_of(Milestone).c.keys() if name not in ("trial_id", "number", "seconds"))  # noqa: SIM118
HELD = frozenset((*_OF_RUN, *_TEXTS_OF_RUN, *_OF_NETWORK, NETWORK, ANSWERS, HISTORY, WIDTHS, FULL_WIDTHS))
# So many at most are asked for by their ids.
_BY_IDS = 500


def is_held(key: str, value: Any) -> bool:
    """Whether the tables hold a trial's value; what is empty leaves no row, and stays an attribute."""
    return key in HELD and (value not in ({}, []) or key == FULL_WIDTHS)


def is_shown(key: str, value: Any) -> bool:
    """Whether a trial's value is an attribute of Optuna's, which its dashboard shows."""
    return key in SHOWN or not is_held(key, value)


def write_trial(connection: Connection, trial_id: int, values: Mapping[str, Any]) -> None:
    """Writes those of a trial's values that the tables hold; values that are not among them stay as they are."""
    held = {key: value for key, value in values.items() if is_held(key, value)}
    if not held:
        return
    row, run = {"trial_id": trial_id}, {key: held[key] for key in _OF_RUN if key in held}
    run |= {key: as_json(held[key]) for key in _TEXTS_OF_RUN if key in held}
    recipe: dict[str, Any] = held.get(RECIPE) or {}
    if "shape" in recipe:
        run["shape"] = recipe["shape"]
    put(connection, Run, row, run)
    if network := _network_row(held):
        put(connection, Network, row, network)
    if NETWORK in held:
        note_files(connection, [held[NETWORK]])
    if widths := held.get(WIDTHS) or recipe.get("widths"):
        full = held.get(FULL_WIDTHS, {})
        rows = [{"name": name, "width": width, "full_width": full.get(name)} for name, width in widths.items()]
        replace_rows(connection, Width, row, rows)
    if HISTORY in held:
        _write_history(connection, trial_id, held[HISTORY])


def write_milestone(connection: Connection, trial_id: int, entry: Mapping[str, Any], seconds: float) -> None:
    """Writes one report of a trial's history, so many seconds after the trial began."""
    put(connection, Run, {"trial_id": trial_id}, {})
    columns, alphas = _milestone(entry)
    key = {"trial_id": trial_id, "number": columns.pop("number")}
    put(connection, Milestone, key, {**columns, "seconds": seconds})
    replace_rows(connection, StageAlpha, key, alphas)


def note_files(connection: Connection, files: Collection[str]) -> None:
    """Notes that files lie beside the database because of it."""
    for file in files:
        put(connection, File, {"file": file}, {})


def read_trials(connection: Connection, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """What the tables hold of trials, by their ids; those that they hold nothing of are left out."""
    found: dict[int, dict[str, Any]] = {}
    for run in _rows(connection, Run, ids):
        found[run.trial_id] = values = {key: getattr(run, key) for key in _OF_RUN}
        values |= {key: _parsed(getattr(run, key)) for key in _TEXTS_OF_RUN}
    if found:
        for network in _rows(connection, Network, found):
            found[network.trial_id] |= {key: getattr(network, key) for key in _OF_NETWORK}
            found[network.trial_id] |= {NETWORK: network.file, ANSWERS: _parsed(network.answers)}
        for width in _rows(connection, Width, [key for key, values in found.items() if values[RECIPE] is None]):
            found[width.trial_id].setdefault(WIDTHS, {})[width.name] = width.width
        _read_histories(connection, found)
    return {trial: {k: v for k, v in values.items() if v is not None} for trial, values in found.items()}


def _network_row(held: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: held[key] for key in _OF_NETWORK if key in held}
    if NETWORK in held:
        row |= {"file": held[NETWORK], CHECKSUM: held.get(CHECKSUM)}
    if ANSWERS in held:
        row[ANSWERS] = as_json(held[ANSWERS])
    return row


def _write_history(connection: Connection, trial_id: int, history: list[dict[str, Any]]) -> None:
    """Replaces the milestones, whose seconds are known only since they were written one by one."""
    table = table_of(Milestone)
    known = connection.execute(select(table.c.number, table.c.seconds).where(table.c.trial_id == trial_id))
    seconds: dict[int, float | None] = {row.number: row.seconds for row in known}
    entries = [_milestone(entry) for entry in history]
    rows = [{**columns, "seconds": seconds.get(columns["number"])} for columns, _ in entries]
    replace_rows(connection, Milestone, {"trial_id": trial_id}, rows)
    stages = [{"number": columns["number"], **alpha} for columns, alphas in entries for alpha in alphas]
    replace_rows(connection, StageAlpha, {"trial_id": trial_id}, stages)


def _milestone(entry: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report's columns, and the rows of its stages."""
    values = by_todays_names(entry)
    alphas = [{"stage": stage, "alpha": alpha} for stage, alpha in enumerate(values.pop(ALPHAS, ()))]
    if unknown := values.keys() - {"number", *_OF_MILESTONE}:
        raise ValueError(f"no column for {', '.join(sorted(unknown))} of a trial's report")
    return {"number": values["number"], **{key: values.get(key) for key in _OF_MILESTONE}}, alphas


def _read_histories(connection: Connection, found: dict[int, dict[str, Any]]) -> None:
    entries: dict[tuple[int, int], dict[str, Any]] = {}
    for row in _rows(connection, Milestone, found):
        values = {key: value for key in _OF_MILESTONE if (value := getattr(row, key)) is not None}
        entries[row.trial_id, row.number] = entry = {"number": row.number, **values}
        found[row.trial_id].setdefault(HISTORY, []).append(entry)
    for row in _rows(connection, StageAlpha, found):
        if (row.trial_id, row.number) in entries:
            entries[row.trial_id, row.number].setdefault(ALPHAS, []).append(row.alpha)


def _rows(connection: Connection, model: type[Base], ids: Collection[int]) -> Iterator[Row[Any]]:
    """A table's rows of these trials, in the order of their keys."""
    table, wanted = table_of(model), set(ids)
    if not wanted:
        return
    many = len(wanted) > _BY_IDS
    here = table.c.trial_id.between(min(wanted), max(wanted)) if many else table.c.trial_id.in_(sorted(wanted))
    for row in connection.execute(select(table).where(here).order_by(*table.primary_key)):
        if row.trial_id in wanted:
            yield row


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
