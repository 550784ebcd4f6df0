"""What one process alone does for a study, of all those that share its database."""

from __future__ import annotations

import json
import os
import platform

import optuna
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from .storage import engine_of


def claim(study: optuna.Study, key: str) -> bool:
    """Whether this process is the first to claim `key`, and so the one that does what it stands for.

    The claim is an attribute of the study, inserted in one statement: the database refuses a second row, where
    `set_user_attr` would replace the first.

    Args:
        study: in a database that other processes may use.
        key: of the attribute; its value is the process, for people.
    """
    value = f"process {os.getpid()} on {platform.node()}"
    engine = engine_of(study._storage)
    if engine is None:  # a storage in memory has one process
        first = key not in study.user_attrs
        study.set_user_attr(key, value)
        return first
    row = {"study": study._study_id, "key": key, "value": json.dumps(value)}
    try:
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (:study, :key, :value)"), row
            )
    except IntegrityError:
        return False
    return True
