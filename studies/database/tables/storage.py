"""Optuna's storage, in which the tables beside its own hold what is longer than a word or a number.

A program reads and writes a trial's and a study's values by their names, as attributes of Optuna's; those that the
tables hold go there in the same transaction and come from there, so that SQL can ask for them. This touches private
methods of Optuna's: see `optuna_internals`.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialIntermediateValueModel, TrialModel, TrialUserAttributeModel
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, DateTime, Table, bindparam, column, delete, insert, select, table, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..places.addresses import parse_url
from .guarding import guarding, persistently
from .names import BASELINE
from .studies import HELD as HELD_OF_STUDIES
from .studies import add_baseline, read_study, write_study
from .trials import is_held, is_shown, read_trials, write_milestone, write_trial

# One statement: Optuna reads the state first and writes it then, in between which SQLite lets another process read too.
_TAKE = text(
    "UPDATE trials SET state = 'RUNNING', datetime_start = :now WHERE trial_id = :trial AND state = 'WAITING'"
).bindparams(bindparam("now", type_=DateTime))
_TRIALS = cast(Table, TrialModel.__table__)
_REPORTED = cast(Table, TrialIntermediateValueModel.__table__)
_HERE = (_REPORTED.c.trial_id == bindparam("trial")) & (_REPORTED.c.step == bindparam("at"))
_FORGET = delete(_REPORTED).where(_HERE)
_REPORT = insert(_REPORTED)
_STATE = select(_TRIALS.c.state).where(_TRIALS.c.trial_id == bindparam("trial"))


@guarding
class StudyStorage(RDBStorage):
    """Optuna's storage with our tables, in which a queued trial is taken by exactly one process.

    Args:
        url: As `RDBStorage` takes it.
        tables: Whether the database has our tables: one that Optuna alone made is read as it is.
        options: `RDBStorage`'s.
    """

    def __init__(self, url: str, *, tables: bool = True, **options: Any) -> None:
        super().__init__(url, **options)
        self.tables = tables
        self._close_with_this()

    def __setstate__(self, state: dict[Any, Any]) -> None:
        url = state["url"]
        # Optuna connects by it, and no driver knows the place of the files.
        super().__setstate__({**state, "url": parse_url(url).render_as_string(hide_password=False)})
        self.url = url
        self._close_with_this()

    def _close_with_this(self) -> None:
        """A server's connections are closed when the storage is no more; SQLite's belong to their threads."""
        if self.engine.name != "sqlite":
            weakref.finalize(self, self.engine.dispose)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Sets a trial's state; False where it was to begin and does not wait, because another process took it."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        with self.engine.begin() as connection:
            now = datetime.now(UTC).replace(tzinfo=None)  # as Optuna keeps times
            return connection.execute(_TAKE, {"now": now, "trial": trial_id}).rowcount == 1

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial with all its values."""
        return self._completed([super().get_trial(trial_id)])[0]

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        """All of a trial's values."""
        attributes = super().get_trial_user_attrs(trial_id)
        if self.tables:
            with self.engine.connect() as connection:
                attributes |= read_trials(connection, [trial_id]).get(trial_id, {})
        return attributes

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """All of a study's values."""
        attributes = super().get_study_user_attrs(study_id)
        if self.tables:
            with self.engine.connect() as connection:
                attributes |= read_study(connection, study_id)
        return attributes

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies, each with all its values."""
        studies = super().get_all_studies()
        if self.tables:
            with self.engine.connect() as connection:
                for study in studies:
                    study.user_attrs |= read_study(connection, study._study_id)
        return studies

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets one of a study's values."""
        self.set_study_values(study_id, {key: value})

    def set_study_values(self, study_id: int, values: Mapping[str, Any]) -> None:
        """Sets several of a study's values in one transaction: all of them or none."""
        held = {key: value for key, value in values.items() if self.tables and key in HELD_OF_STUDIES}
        others = {key: value for key, value in values.items() if key not in held}

        def write() -> None:
            with self.engine.begin() as connection:
                write_study(connection, study_id, held)
                _replace_attributes(connection, "study", study_id, others, list(values))

        persistently(self, write)

    def add_baseline(self, study_id: int, record: Mapping[str, Any]) -> bool:
        """Keeps a study's baseline; False if it has one already: the first one stays."""

        def write() -> bool:
            try:
                with self.engine.begin() as connection:
                    if self.tables:
                        add_baseline(connection, study_id, record)
                    else:
                        _replace_attributes(connection, "study", study_id, {BASELINE: record}, [])
            except IntegrityError:
                return False
            return True

        return persistently(self, write)

    def set_trial_values(self, trial_id: int, values: Mapping[str, Any]) -> None:
        """Sets several values of a running trial in one transaction: all of them or none."""

        def write() -> None:
            with self.engine.begin() as connection:
                if self.tables:
                    write_trial(connection, trial_id, values)
                shown = {k: v for k, v in values.items() if not self.tables or is_shown(k, v)}
                _replace_attributes(connection, "trial", trial_id, shown, list(values))

        persistently(self, write)

    def add_milestone(
        self, trial_id: int, entry: Mapping[str, Any], seconds: float, shown: float | None = None
    ) -> None:
        """Adds a report to a running trial's history, in one transaction with the value that Optuna knows it by.

        Args:
            trial_id: Of the trial.
            entry: The report, with its `number`.
            seconds: From the trial's beginning to the report.
            shown: What Optuna's pruners hear and its dashboard draws; None for nothing.

        Raises:
            UpdateFinishedTrialError: If another process has ended the trial, which it does not hear of then.
        """

        def write() -> None:
            with self.engine.begin() as connection:
                write_milestone(connection, trial_id, entry, seconds)
                if shown is not None:
                    _report(connection, trial_id, entry["number"], shown)
                    # After the first write, with which SQLite's lock is held: the state cannot change any more.
                    state = connection.execute(_STATE, {"trial": trial_id}).scalar_one()
                    self.check_trial_is_updatable(trial_id, state)

        if self.tables:
            persistently(self, write)
        elif shown is not None:
            self.set_trial_intermediate_value(trial_id, entry["number"], shown)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return self._completed(super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than))

    def _completed(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials with what the tables hold of them, which was written before their states were."""
        if self.tables and (ids := [trial._trial_id for trial in trials if trial.state != TrialState.WAITING]):
            with self.engine.connect() as connection:
                found = read_trials(connection, ids)
            for trial in trials:
                trial.user_attrs.update(found.get(trial._trial_id, {}))
        return trials

    def _set_trial_attr_without_commit(
        self, session: Session, model_cls: Any, trial_id: int, key: str, value: Any
    ) -> None:
        # A trial that is added with values has them one by one in its own transaction.
        if model_cls is TrialUserAttributeModel and self.tables and is_held(key, value):
            trial = TrialModel.find_or_raise_by_id(trial_id, session)
            self.check_trial_is_updatable(trial_id, cast(TrialState, trial.state))
            write_trial(session.connection(), trial_id, {key: value})
            if not is_shown(key, value):
                return
        super()._set_trial_attr_without_commit(session, model_cls, trial_id, key, value)


def _report(connection: Connection, trial_id: int, step: int, value: float) -> None:
    """What Optuna's `Trial.report` writes; a transaction that is begun again may find its own row there."""
    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    connection.execute(_FORGET, {"trial": trial_id, "at": step})
    row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
    connection.execute(_REPORT, row)


def _replace_attributes(
    connection: Connection, of: str, owner: int, values: Mapping[str, Any], keys: Sequence[str]
) -> None:
    """Removes the attributes of these keys from a study or a trial, and writes the values."""
    columns = (f"{of}_id", "key", "value_json")
    attributes = table(f"{of}_user_attributes", *(column(name) for name in columns))
    if keys:
        here = (attributes.c[f"{of}_id"] == owner) & attributes.c.key.in_(keys)
        connection.execute(delete(attributes).where(here))
    if values:
        rows = [dict(zip(columns, (owner, key, json.dumps(value)), strict=True)) for key, value in values.items()]
        connection.execute(insert(attributes), rows)
