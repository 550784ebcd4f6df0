"""How far a study is when a command begins, and when it is stopped."""

from collections.abc import Callable
from typing import NamedTuple

import optuna

from ....errors import StudyError
from ....studies.database.storage import load_study, open_storage
from ....studies.database.trials import finished_trials
from ....studies.definition.reading import Definition
from ...events import Best
from ...run.recording import best_of


class Standing(NamedTuple):
    """How far a study is.

    Attributes:
        finished: trials.
        seconds: that each of them took.
        best: of them within the budget, if there is one.
    """

    finished: int = 0
    seconds: tuple[float, ...] = ()
    best: Best | None = None


def standing_in(url: str, definition: Definition, told: Callable[[str], None] | None = None) -> Standing:
    """How far a study of a database is; one that is not there has not begun.

    Args:
        url: of the database.
        definition: of the study.
        told: receives a line if an earlier version's database was brought up to date.
    """
    try:
        study = load_study(open_storage(url, create=False, told=told), definition.study.name)
    except StudyError:
        return Standing()
    return standing_of(study, definition)


def standing_of(study: optuna.Study, definition: Definition) -> Standing:
    """How far a study is."""
    trials = finished_trials(study)
    seconds = tuple(trial.duration.total_seconds() for trial in trials if trial.duration is not None)
    try:
        return Standing(len(trials), seconds, best_of(study, definition))
    except StudyError:
        return Standing(len(trials), seconds)
