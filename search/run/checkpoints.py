"""Where checkpoints lie: beside the networks of a storage, so that whoever opens the database finds them."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from ...studies.database.attributes import IDENTITY
from ...studies.database.places.locations import modified
from ...studies.database.places.store import artifact_folder
from ...studies.database.retries import CHECKPOINT
from ...studies.definition.reading import Definition
from ..events import Listener, Notice
from ..space import Recipe
from ..training.checkpoint import Checkpoint

_TRIAL, _RUN, _BASELINE = "trial-", "run-", "baseline-"
# Seconds after which a file that nothing waits for is removed: of a trial, and of what a later command may go on with.
_UNCLAIMED = 3600.0
_FORGOTTEN = 30 * 86400.0


def checkpoint_folder(url: str) -> Path:
    """`checkpoints`, beside the storage's folder of networks."""
    return artifact_folder(url).with_name("checkpoints")


def checkpoint_name(trial: optuna.Trial) -> str:
    """The name of a trial's checkpoint: that of the trial which it goes on with, or a new one."""
    name = str(trial.user_attrs.get(CHECKPOINT, ""))
    return name if name.isalnum() else uuid.uuid4().hex


class Checkpoints:
    """The checkpoints of a storage.

    Args:
        url: of the storage.
        notify: hears, once, that checkpoints cannot be written.
    """

    def __init__(self, url: str, notify: Listener) -> None:
        self.folder, self.notify, self._told = checkpoint_folder(url), notify, False

    def of_trial(self, name: str, recipe: Recipe, seed: int, check: Callable[[], None]) -> Checkpoint:
        """A trial's, by its name.

        Args:
            name: that `checkpoint_name` gave.
            recipe: of the trial.
            seed: that it began with.
            check: raises where the trial is no longer this process's.
        """
        return self._file(_TRIAL + name, {"recipe": recipe.to_dict(), "seed": seed}, check)

    def of_run(self, refined: optuna.Study, about: dict[str, Any]) -> Checkpoint:
        """That of a recipe trained again: whichever command wants the same run goes on with it."""
        about = {"identity": refined.user_attrs.get(IDENTITY), "study": refined.study_name, **about}
        return self._file(_RUN + _digest(about), about)

    def of_baseline(self, definition: Definition) -> Checkpoint:
        """That of the training of a baseline, which has no study yet."""
        tables = definition.fingerprint()
        about = {key: tables[key] for key in ("model", "data", "task", "baseline")} | {"seed": definition.study.seed}
        return self._file(_BASELINE + _digest(about), about)

    def sweep(self, storage: BaseStorage) -> None:
        """Removes files that nobody will go on with: their trials ended, or their studies are no more."""
        now = time.time()
        old = [(file, now - modified(file)) for file in self._files()]
        if not any(age > _UNCLAIMED for _, age in old):
            return
        wanted = {_TRIAL + name for name in _wanted(storage)}
        for file, age in old:
            trials = file.name.startswith((_TRIAL, "."))  # a hidden one is the draft of a process that died
            if file.name not in wanted and age > (_UNCLAIMED if trials else _FORGOTTEN):
                with suppress(OSError):
                    file.unlink()

    def _files(self) -> list[Path]:
        try:
            return [file for file in self.folder.iterdir() if file.is_file()]
        except OSError:
            return []

    def _file(self, name: str, about: dict[str, Any], check: Callable[[], None] = lambda: None) -> Checkpoint:
        return Checkpoint(self.folder / name, json.loads(json.dumps(about)), check, self._failed)

    def _failed(self, reason: str) -> None:
        if not self._told:
            self.notify(Notice(f"{reason}; the training goes on, and could not go on from here after a stop"))
        self._told = True


def _wanted(storage: BaseStorage) -> set[str]:
    states = (TrialState.RUNNING, TrialState.WAITING)
    studies = [optuna.load_study(storage=storage, study_name=name) for name in optuna.get_all_study_names(storage)]
    trials = (trial for study in studies for trial in study.get_trials(deepcopy=False, states=states))
    return {str(trial.user_attrs[CHECKPOINT]) for trial in trials if CHECKPOINT in trial.user_attrs}


def _digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
