"""The studies of a storage at a glance, and one of them deleted with all that belongs to it."""

from __future__ import annotations

from typing import NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ....errors import StudyError
from ...metric import ACCURACY, Metric
from ..attributes import EXHAUSTED
from ..beginnings import beginnings
from ..companions import companions_of, is_companion
from ..optuna_internals import ATTACHED, attached_files
from ..places.store import artifact_folder
from ..retries import NOTE
from ..rungs import finished_count
from ..storage import stored_definition
from ..tables.names import CHECKSUM, NETWORK
from ..trials import best_trial, finished_trials, living_trials, metric_of, metric_value
from .deletion import DELETED, delete_alone

_DEAD = "a process that was killed is noticed within a minute"


class Companion(NamedTuple):
    """A study beside a study: its widths judged untrained, or its refined trials."""

    name: str
    finished: int


class StudyRow(NamedTuple):
    """One line of `branchfold list`; None is not known.

    `finished` counts completed trials and those stopped early, of `wanted` that the study is to have; `value` is
    the best one's `metric` within the budget, on the validation split. `state` is "running", "finished", "stopped",
    "beginning" where the baseline is being made, "companion" where the study that it belonged to is gone, or "foreign"
    for a study that branchfold did not make or cannot read.
    """

    name: str
    finished: int
    wanted: int | None
    value: float | None
    state: str
    companions: list[Companion]
    metric: Metric = ACCURACY


class TrialFile(NamedTuple):
    """One line of `branchfold list STUDY`: a trial and its network's file; `size` is None where that is gone."""

    number: int
    state: str
    value: float | None
    metric: Metric
    file: str | None
    checksum: str | None
    size: int | None


def study_rows(storage: RDBStorage) -> list[StudyRow]:
    """One row for each study of a storage, by name; companions are told with the study they belong to."""
    names = sorted(optuna.get_all_study_names(storage))
    beside = {companion for name in names for companion in companions_of(storage, name)}
    rows = [_row(storage, name) for name in names if name not in beside]
    begun = [each for each in beginnings(storage.url) if each.name not in names]
    rows += [StudyRow(each.name, 0, each.wanted, None, "beginning", []) for each in begun]
    return sorted(rows, key=lambda row: row.name)


def trial_files(storage: RDBStorage, study: optuna.Study) -> list[TrialFile]:
    """A row for each trial of a study, in the order of their numbers."""
    folder, metric, found = artifact_folder(storage.url), metric_of(study), []
    for trial in study.get_trials(deepcopy=False):
        file = trial.user_attrs.get(NETWORK)
        size = (folder / file).stat().st_size if file is not None and (folder / file).is_file() else None
        value, state = metric_value(trial), trial.state.name.lower()
        found.append(TrialFile(trial.number, state, value, metric, file, trial.user_attrs.get(CHECKSUM), size))
    return found


def check_deletable(study: optuna.Study, trial: FrozenTrial) -> None:
    """Checks that a trial is there to be deleted: no living process runs it, and it was not deleted before.

    Raises:
        StudyError: If one does, or it was.
    """
    number = trial.number
    if trial.state == TrialState.FAIL and trial.user_attrs.get(NOTE) == DELETED:
        raise StudyError(f"trial {number} of {study.study_name!r} was deleted before: nothing is left of it")
    if any(trial.number == number for trial in living_trials(study)):
        raise StudyError(f"trial {number} of {study.study_name!r} runs; stop what runs it first ({_DEAD})")


def delete_study(storage: RDBStorage, study: optuna.Study) -> int:
    """Deletes a study, its companions and the networks of both; returns how many files of networks that were.

    Raises:
        StudyError: If trials of it run.
    """
    names = [*companions_of(storage, study.study_name), study.study_name]
    for name in names:
        if running := len(living_trials(optuna.load_study(storage=storage, study_name=name))):
            verb = "trial runs" if running == 1 else "trials run"
            raise StudyError(f"study {name!r} is at work: {running} {verb}; stop what runs it first ({_DEAD})")
    return sum(delete_alone(storage, name) for name in names)


def belongings(storage: RDBStorage, study: optuna.Study) -> tuple[int, list[str], int]:
    """What goes when a study is deleted: its trials, its companions' names, and the networks of all."""
    companions = companions_of(storage, study.study_name)
    each = [study, *(optuna.load_study(storage=storage, study_name=name) for name in companions)]
    return len(study.get_trials(deepcopy=False)), companions, len(set().union(*map(_networks, each)))


def _networks(study: optuna.Study) -> set[str]:
    """The artifacts of a study and its trials that are no figures or descriptions of theirs."""
    listed = (item for files in attached_files(study).values() for item in files.items())
    return {artifact for name, artifact in listed if not name.endswith(ATTACHED)}


def _row(storage: RDBStorage, name: str) -> StudyRow:
    study = optuna.load_study(storage=storage, study_name=name)
    finished = finished_count(study)
    beside = [optuna.load_study(storage=storage, study_name=other) for other in companions_of(storage, name)]
    companions = [Companion(other.study_name, len(finished_trials(other))) for other in beside]
    metric = metric_of(study)
    if is_companion(study):
        return StudyRow(name, finished, None, None, "companion", companions, metric)
    try:
        definition = stored_definition(study)
    except StudyError:
        return StudyRow(name, finished, None, None, "foreign", companions, metric)
    wanted = definition.study.trials
    through = finished >= wanted or EXHAUSTED in study.user_attrs
    state = "running" if any(map(living_trials, [study, *beside])) else "finished" if through else "stopped"
    try:
        value = metric_value(best_trial(study, definition))
    except StudyError:  # none within the budget yet
        value = None
    return StudyRow(name, finished, wanted, value, state, companions, metric)
