"""A trial's values as rows, and rows as a trial's values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select

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
    key = {"trial_id": trial_id}
    run = {name: held[name] for name in _OF_RUN if name in held}
    run |= {name: as_json(held[name]) for name in _TEXTS_OF_RUN if name in held}
    recipe: dict[str, Any] = held.get(RECIPE) or {}
    if "shape" in recipe:
        run["shape"] = recipe["shape"]
    put(connection, Run, [key | run])
    if network := _network_row(held):
        put(connection, Network, [key | network])
    if NETWORK in held:
        note_files(connection, [held[NETWORK]])
    if widths := held.get(WIDTHS) or recipe.get("widths"):
        full = held.get(FULL_WIDTHS, {})
        rows = [{"name": name, "width": width, "full_width": full.get(name)} for name, width in widths.items()]
        replace_rows(connection, Width, key, rows)
    if HISTORY in held:
        _write_history(connection, trial_id, held[HISTORY])


def write_milestone(connection: Connection, trial_id: int, entry: Mapping[str, Any], seconds: float) -> None:
    """Writes one report of a trial's history, so many seconds after the trial began."""
    put(connection, Run, [{"trial_id": trial_id}])
    columns, stages = _milestone(trial_id, entry)
    put(connection, Milestone, [{**columns, "seconds": seconds}])
    put(connection, StageAlpha, stages)


def note_files(connection: Connection, files: Collection[str]) -> None:
    """Notes that files lie beside the database because of it."""
    put(connection, File, [{"file": file} for file in files])


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
    """Writes all milestones; those that were written one by one know their seconds, and keep them."""
    entries = [_milestone(trial_id, entry) for entry in history]
    table = table_of(Milestone)
    columns = [table.c[name] for name in ("trial_id", "number", *_OF_MILESTONE)]
    known = connection.execute(select(*columns).where(table.c.trial_id == trial_id).order_by(table.c.number))
    if [dict(row) for row in known.mappings()] == [row for row, _ in entries]:
        return
    numbers = [row["number"] for row, _ in entries]
    for model in (Milestone, StageAlpha):
        gone = table_of(model)
        connection.execute(delete(gone).where(gone.c.trial_id == trial_id, gone.c.number.not_in(numbers)))
    put(connection, Milestone, [row for row, _ in entries])
    put(connection, StageAlpha, [stage for _, stages in entries for stage in stages])


def _milestone(trial_id: int, entry: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report's row but for its seconds, and those of its stages."""
    values = by_todays_names(entry)
    alphas = values.pop(ALPHAS, ())
    if unknown := values.keys() - {"number", *_OF_MILESTONE}:
        raise ValueError(f"no column for {', '.join(sorted(unknown))} of a trial's report")
    key = {"trial_id": trial_id, "number": values["number"]}
    stages = [{**key, "stage": stage, "alpha": alpha} for stage, alpha in enumerate(alphas)]
    return {**key, **{name: values.get(name) for name in _OF_MILESTONE}}, stages


def _read_histories(connection: Connection, found: dict[int, dict[str, Any]]) -> None:
    entries: dict[tuple[int, int], dict[str, Any]] = {}
    for row in _rows(connection, Milestone, found):
        pairs = zip(_OF_MILESTONE, tuple(row)[2:], strict=False)  # the seconds come last
        trial, number = row.trial_id, row.number
        entry = {"number": number, **{name: value for name, value in pairs if value is not None}}
        entries[trial, number] = entry
        found[trial].setdefault(HISTORY, []).append(entry)
    for row in _rows(connection, StageAlpha, found):
        if (key := (row.trial_id, row.number)) in entries:
            entries[key].setdefault(ALPHAS, []).append(row.alpha)


def _rows(connection: Connection, model: type[Base], ids: Collection[int]) -> Iterator[Row[Any]]:
    """A table's rows of these trials, in the order of their keys."""
    table, wanted = table_of(model), set(ids)
    if not wanted:
        return
    many = len(wanted) > _BY_IDS
    here = table.c.trial_id.between(min(wanted), max(wanted)) if many else table.c.trial_id.in_(sorted(wanted))
    for row in connection.execute(select(table).where(here).order_by(*table.primary_key)):
        if row[0] in wanted:  # the first column is the trial's
            yield row


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
