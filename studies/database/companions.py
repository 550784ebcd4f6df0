"""Studies beside a study, in the same database: its screened widths, its refined trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from ...errors import StudyError
from .artifacts import BASELINE
from .storage import DEFINITION

SCREENING = "screening"
REFINED = "refined"
# Attribute of a companion: its kind.
_KIND = "companion"


def companion_name(name: str, kind: str) -> str:
    """Returns the name of a study's companion, `NAME-screening` or `NAME-refined`."""
    return f"{name}-{kind}"


def is_screening(study: optuna.Study) -> bool:
    """Returns whether a study's trials are widths that were judged untrained."""
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
    storage: BaseStorage,
    study: optuna.Study,
    kind: str,
    *,
    directions: Sequence[StudyDirection],
    metrics: Sequence[str],
) -> optuna.Study:
    """Returns a study's companion, created or opened; it has its definition and its baseline.

    Args:
        storage: of the study.
        study: that it belongs to.
        kind: `SCREENING` or `REFINED`.
        directions: of the companion's objectives.
        metrics: their names.
    """
    name = companion_name(study.study_name, kind)
    companion = optuna.create_study(
        storage=storage, study_name=name, directions=directions, pruner=optuna.pruners.NopPruner(), load_if_exists=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        companion.set_metric_names(list(metrics))
    companion.set_user_attr(_KIND, kind)
    definition = study.user_attrs[DEFINITION]
    companion.set_user_attr(DEFINITION, {**definition, "study": {**definition["study"], "name": name}})
    if BASELINE in study.user_attrs:
        companion.set_user_attr(BASELINE, study.user_attrs[BASELINE])
    return companion
