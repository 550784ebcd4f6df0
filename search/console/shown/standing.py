"""How far a study is when a command begins, and when it is stopped."""

from collections.abc import Callable
from typing import NamedTuple

import optuna

from ....errors import StudyError
from ....studies.database.rungs import finished_count, rung_of
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
    trials, finished = finished_trials(study), finished_count(study)
    # Of a shorter trial what a whole one would take at its pace.
    seconds = tuple(t.duration.total_seconds() / rung_of(t).share for t in trials if t.duration is not None)
    try:
        return Standing(finished, seconds, best_of(study, definition))
    except StudyError:
        return Standing(finished, seconds)
