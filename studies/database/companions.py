"""Studies beside a study, in the same database: its screened widths, its refined trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection

from ...errors import StudyError
from ..definition.keys import COMPANIONS
from ..definition.reading import describe_difference, stored_fingerprint
from .attributes import DEFINITION, FINGERPRINT, IDENTITY, METRIC
from .tables.names import BASELINE, NETWORK, TAUGHT_COMPUTE
from .upkeep.deletion import delete_alone

SCREENING, REFINED = COMPANIONS
# Attribute of a companion: its kind.
_KIND = "companion"


def companion_name(name: str, kind: str) -> str:
    """The name of a study's companion, `NAME-screening` or `NAME-refined`."""
    return f"{name}-{kind}"


def is_companion(study: optuna.Study) -> bool:
    """Whether a study is one beside another."""
    return _KIND in study.user_attrs


def is_screening(study: optuna.Study) -> bool:
    """Whether a study's trials are widths that were judged untrained."""
    return study.user_attrs.get(_KIND) == SCREENING


def check_trained(study: optuna.Study) -> None:
    """Checks that a study's trials train networks.

    Raises:
        StudyError: If they are a screening's candidates.
    """
    if is_screening(study):
        name, of = study.study_name, study.study_name.removesuffix(f"-{SCREENING}")
        raise StudyError(f"study {name!r} holds widths that were judged untrained; the trials are those of {of!r}")


def open_companion(
    storage: RDBStorage,
    study: optuna.Study,
    kind: str,
    *,
    directions: Sequence[StudyDirection],
    metrics: Sequence[str],
    told: Callable[[str], None],
) -> optuna.Study:
    """A study's companion, created or opened; it has its definition and its baseline.

    One that belonged to another study of this name is deleted with its networks, and a new one takes its place.

    Args:
        storage: Of the study.
        study: That it belongs to.
        kind: `SCREENING` or `REFINED`.
        directions: Of the companion's objectives.
        metrics: Their names.
        told: Receives a line about what was deleted.

    Raises:
        StudyError: If a study of the companion's name is none.
    """
    name = companion_name(study.study_name, kind)
    if (stale := _why_stale(storage, name, study)) is not None:
        delete_alone(storage, name)
        told(f"deleted {name}: it {stale}")
    companion = optuna.create_study(
        storage=storage, study_name=name, directions=directions, pruner=optuna.pruners.NopPruner(), load_if_exists=True
    )
    if _KIND not in companion.user_attrs and companion.get_trials(deepcopy=False):
        raise StudyError(
            f"study {name!r} stands where branchfold keeps what belongs to {study.study_name!r}: rename or delete it"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        companion.set_metric_names(list(metrics))
    definition = study.user_attrs[DEFINITION]
    companion.set_user_attr(DEFINITION, {**definition, "study": {**definition["study"], "name": name}})
    for key in (IDENTITY, METRIC):
        if key in study.user_attrs:
            companion.set_user_attr(key, study.user_attrs[key])
    if BASELINE in study.user_attrs:  # what it cost to make is the study's
        record = study.user_attrs[BASELINE]
        companion.set_user_attr(BASELINE, {key: record[key] for key in record if key != TAUGHT_COMPUTE})
    companion.set_user_attr(_KIND, kind)  # last: without it nothing is stale yet
    return companion


def find_companion(storage: BaseStorage, study: optuna.Study, kind: str) -> optuna.Study | None:
    """A study's companion, or None where there is none that belongs to it."""
    name = companion_name(study.study_name, kind)
    if name not in optuna.get_all_study_names(storage) or _why_stale(storage, name, study) is not None:
        return None
    return optuna.load_study(storage=storage, study_name=name)


def companions_of(storage: RDBStorage, name: str) -> list[str]:
    """The names of the companions that a study of this name has, or left when it was deleted."""
    names = optuna.get_all_study_names(storage)
    candidates = (companion_name(name, kind) for kind in COMPANIONS)
    return [
        candidate
        for candidate in candidates
        if candidate in names and is_companion(optuna.load_study(storage=storage, study_name=candidate))
    ]


def delete_left_behind(storage: RDBStorage, name: str) -> list[str]:
    """Deletes the companions of a deleted study, before a new one of its name has any; returns a line on each."""
    lines = []
    for companion in companions_of(storage, name):
        delete_alone(storage, companion)
        lines.append(f"deleted {companion}: it belonged to a study {name} that is no more")
    return lines


def _why_stale(storage: BaseStorage, name: str, study: optuna.Study) -> str | None:
    """What tells a companion from one of this study, or None; studies of earlier versions have no identity."""
    if name not in optuna.get_all_study_names(storage):
        return None
    theirs, ours = optuna.load_study(storage=storage, study_name=name).user_attrs, study.user_attrs
    if _KIND not in theirs:
        return None
    if theirs.get(IDENTITY, ours.get(IDENTITY)) != ours.get(IDENTITY):
        return f"belonged to another study {study.study_name}"
    if BASELINE in theirs and theirs[BASELINE].get(NETWORK) != ours.get(BASELINE, {}).get(NETWORK):
        return "was made with another baseline"
    if describe_difference(_decisive(theirs[DEFINITION], name), _decisive(ours[FINGERPRINT], study.study_name)):
        return "was made with another definition"
    return None


def _decisive(tables: dict[str, Any], name: str) -> dict[str, Any]:
    found = stored_fingerprint(tables, f"stored definition of study {name}")
    del found["study"]["name"]
    return found
