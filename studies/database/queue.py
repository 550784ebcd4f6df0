"""Optuna's queue of trials, from which two processes never take the same one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import DateTime, bindparam, text

# One statement: Optuna reads the state first and writes it then, in between which SQLite lets another process read too.
_TAKE = text(
    "UPDATE trials SET state = 'RUNNING', datetime_start = :now WHERE trial_id = :trial AND state = 'WAITING'"
).bindparams(bindparam("now", type_=DateTime))


class QueueStorage(RDBStorage):
    """Optuna's storage, in which a queued trial is taken by exactly one process."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Sets a trial's state; False where it was to begin and does not wait, because another process took it."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        with self.engine.begin() as connection:
            return connection.execute(_TAKE, {"now": datetime.now(), "trial": trial_id}).rowcount == 1
