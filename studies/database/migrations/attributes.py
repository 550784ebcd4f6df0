"""What earlier versions kept as JSON in Optuna's attributes, moved into rows; other programs' studies stay."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, column, delete, insert, select, table

from ..attributes import DEFINITION
from ..tables.models import studies, trials
from ..tables.names import BASELINE, HISTORY, by_todays_names
from ..tables.studies import HELD as HELD_OF_STUDIES
from ..tables.studies import write_study
from ..tables.trials import is_held, is_shown, note_files, write_trial

_ARTIFACT = "artifacts:"
# Of an entry of a history, what has a column.
_REPORTED = ("number", "compute", "alpha", "metric", "folded_metric", "loss", "rate")
# So many trials' attributes are in memory at a time.
_AT_ONCE = 200

Values = dict[str, Any]


def move_attributes(connection: Connection) -> None:
    """Moves them, in the connection's transaction."""
    for study_id in connection.execute(select(studies.c.study_id)).scalars().all():
        values = dict(_attributes(connection, "study", [study_id]).get(study_id, {}))
        if DEFINITION not in values:
            continue
        held = {key: value for key, value in values.items() if key in HELD_OF_STUDIES}
        write_study(connection, study_id, held)
        _delete(connection, "study", study_id, list(held))
        examples = (values.get(BASELINE) or {}).get("examples")
        for trial_id, found in _of_trials(connection, study_id):
            _move_trial(connection, trial_id, found, examples)
    note_files(connection, _artifacts(connection))


def _move_trial(connection: Connection, trial_id: int, found: Values, examples: int | None) -> None:
    values = by_todays_names(found)
    if isinstance(values.get(HISTORY), list):
        history = (by_todays_names(entry) for entry in values[HISTORY])
        values[HISTORY] = [{key: entry[key] for key in _REPORTED if key in entry} for entry in history]
    held = {key: value for key, value in values.items() if is_held(key, value)}
    if "metric" in held:
        held |= {"split": "validation", "examples": examples}
    write_trial(connection, trial_id, held)
    gone = [key for key in found if key not in values or not is_shown(key, found[key])]
    _delete(connection, "trial", trial_id, gone)
    added = [key for key in values if key not in found and is_shown(key, values[key])]
    if added:
        rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(values[key])} for key in added]
        connection.execute(insert(_table("trial")), rows)


def _of_trials(connection: Connection, study_id: int) -> Iterator[tuple[int, Values]]:
    of_study = select(trials.c.trial_id).where(trials.c.study_id == study_id).order_by(trials.c.trial_id)
    ids = list(connection.execute(of_study).scalars())
    for start in range(0, len(ids), _AT_ONCE):
        yield from _attributes(connection, "trial", ids[start : start + _AT_ONCE]).items()


def _attributes(connection: Connection, of: str, owners: list[int]) -> dict[int, Values]:
    attributes, found = _table(of), defaultdict[int, Values](dict)
    owner = attributes.c[f"{of}_id"]
    for row in connection.execute(select(attributes).where(owner.in_(owners))):
        found[row[0]][row.key] = json.loads(row.value_json)
    return found


def _delete(connection: Connection, of: str, owner: int, keys: list[str]) -> None:
    attributes = _table(of)
    connection.execute(delete(attributes).where((attributes.c[f"{of}_id"] == owner) & attributes.c.key.in_(keys)))


def _artifacts(connection: Connection) -> set[str]:
    found = set()
    for of in ("study", "trial"):
        attributes = table(f"{of}_system_attributes", column("key"))
        keys = select(attributes.c.key).where(attributes.c.key.startswith(_ARTIFACT, autoescape=True))
        found |= {key.removeprefix(_ARTIFACT) for key in connection.execute(keys).scalars()}
    return found


def _table(of: str) -> Any:
    return table(f"{of}_user_attributes", column(f"{of}_id"), column("key"), column("value_json"))
