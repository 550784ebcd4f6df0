"""A storage whose methods outlast a server's restart, and tell in one line what the database refuses."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from ....errors import StudyError
from ..places.addresses import failure, is_sqlite

# Seconds. A server that restarts is back in a few; how often it is looked for.
RECONNECTING = 60.0
INTERVAL = 0.5

_GUARDED = (
    "create_new_study",
    "delete_study",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_all_studies",
    "create_new_trial",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "record_heartbeat",
    # What Optuna's cache calls.
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
    "_get_best_trial_id",
    "_get_stale_trial_ids",
)
# What is asked of a study or trial that was there a moment ago.
_OF_WHAT_IS_THERE = ("_get_trials", *(name for name in _GUARDED if name.startswith(("set_", "_set_", "_create_"))))
_DELETED = "the study was deleted while it was used; what ran of it is lost"

Storage = TypeVar("Storage", bound=type[RDBStorage])
Result = TypeVar("Result")


def guarding(storage: Storage) -> Storage:
    """A class decorator: every method that asks the database does it by `persistently`."""
    for name in _GUARDED:
        setattr(storage, name, _guarded(getattr(storage, name)))
    return storage


def persistently(storage: RDBStorage, work: Callable[[], Result], *, done: Result | None = None) -> Result:
    """What `work` returns, begun again while the server is away.

    Args:
        storage: that it uses.
        work: one transaction, which may have been committed when it fails.
        done: what it returns where the failed attempt turns out to have ended the trial already.

    Raises:
        StudyError: If the database refuses, or the server stays away.
    """
    deadline, again = time.monotonic() + RECONNECTING, False
    while True:
        try:
            return work()
        except UpdateFinishedTrialError:
            if not again or done is None:
                raise
            return done
        except (SQLAlchemyError, StorageInternalError) as error:
            storage.remove_session()
            address = make_url(storage.url)
            if isinstance(error, IntegrityError) and "foreign key" in str(error.orig).lower():
                raise StudyError(_DELETED) from error
            if is_sqlite(address) or not is_outage(error) or time.monotonic() > deadline:
                raise failure(address, error) from error
            again = True
            time.sleep(INTERVAL)


def is_outage(error: BaseException) -> bool:
    """Whether a server is away, or ended a connection: the same may work in a moment."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OperationalError | InterfaceError | PendingRollbackError):
            return True
        if isinstance(cause, DBAPIError) and cause.connection_invalidated:
            return True
        cause = cause.__cause__
    return False


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    # The first attempt to end a trial may have been heard before the connection broke.
    done = True if method.__name__ == "set_trial_state_values" else None

    @functools.wraps(method)
    def call(self: RDBStorage, *args: Any, **kwargs: Any) -> Any:
        try:
            return persistently(self, lambda: method(self, *args, **kwargs), done=done)
        except KeyError as error:
            if method.__name__ in _OF_WHAT_IS_THERE:
                raise StudyError(_DELETED) from error
            raise

    return call
