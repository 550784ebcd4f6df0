"""Notes, figures and downloads kept up to date while a study runs, for little of its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA, split_plot_data
from optuna_dashboard._note import get_note_from_system_attrs, note_str_key_prefix, note_ver_key, split_body

from ...errors import StudyError
from ..database.addresses import FAILURES
from ..database.optuna_internals import replace_study_system_attrs, study_system_attrs, trial_id_of
from ..tables.study import CourseOf, StudyView
from ..tables.trials import TrialLine, trial_lines
from .notes import MARK, study_note, trial_note

# Of the time of the trials that a process has run.
SHARE = 0.01
_MOST_DRAWN = 80
# Seconds that a first update takes about, with the import of Plotly; and a report.
_FIRST_COST, _REPORT_COST = 1.0, 3.0
# Seconds that a run's last update may spend on files in any case.
_LEAST_AT_END = 1.0


class Keeper:
    """Keeps the dashboard's view of a study up to date from one of the processes that run it.

    Each update costs what the trials since have paid for: with long trials all is written after each of them, with
    short ones now and then. `finish` writes whatever is out of date.

    Args:
        study: that runs.
        course_of: tells how a recipe lets α fall.
    """

    def __init__(self, study: optuna.Study, course_of: CourseOf) -> None:
        self.study, self.course_of = study, course_of
        self._paid, self._cost = 0.0, _FIRST_COST
        self._pending: set[int] = set()

    def ended(self, number: int, seconds: float) -> None:
        """Takes note of a trial that ended after so many seconds, and writes if that has been paid for."""
        self._pending.add(number)
        self._paid += SHARE * seconds
        if self._paid >= self._cost:
            self._write(self._pending, self._paid)

    def finish(self) -> None:
        """Writes the notes of all trials and the study's, its figures, and the downloads that its time has paid for."""
        self._write(None, 0.0)

    def _write(self, numbers: set[int] | None, seconds: float) -> None:
        began = time.monotonic()
        # A note is no reason to end a study; the next trial's write finds the fault.
        with suppress(*FAILURES, StudyError, OSError):
            keep(StudyView(self.study, self.course_of), numbers, seconds)
            self._pending = set()
        self._cost = time.monotonic() - began
        self._paid -= self._cost


def keep(view: StudyView, numbers: set[int] | None = None, seconds: float = 0.0) -> None:
    """Writes a study's note and figures, and the notes of trials, in one transaction; somebody's own notes stay.

    Before that, trials that ended get their files, and with all trials the study gets its own.

    Args:
        view: of the study.
        numbers: of the trials; None for all that have begun.
        seconds: that trials' files may take; of all trials at least the share of their time that is paid.
    """
    from .attachments import attach_to_study, attach_to_trials, study_files

    lines = trial_lines(view)
    known = study_system_attrs(view.study, ["dashboard:"])
    chosen = [line for line in lines if line.state != "waiting" and (numbers is None or line.number in numbers)]
    if numbers is None:
        paid = SHARE * sum(line.row.seconds or 0.0 for line in lines)
        seconds = max(seconds, paid, _LEAST_AT_END)
        attach_to_study(view, study_files(view, report=paid >= _REPORT_COST))
    files = attach_to_trials(view, sorted(chosen, key=_best_first(view)), seconds)
    values: dict[str, Any] = {}
    gone: list[str] = []
    _add_note(values, gone, known, None, study_note(view, lines))
    for line in chosen:
        note = trial_note(view, line, files[line.number])
        _add_note(values, gone, known, trial_id_of(view.trials[line.number]), note)
    for name, figure in _figures(view, lines).items():
        prefix = f"{SYSTEM_ATTR_PLOT_DATA}{name}:"
        rows = split_plot_data(figure, prefix)
        values |= rows
        gone += [key for key in known if key.startswith(prefix) and key not in rows]
    changed = {key: value for key, value in values.items() if known.get(key) != value}
    replace_study_system_attrs(view.study, changed, gone)


def _best_first(view: StudyView) -> Callable[[TrialLine], tuple[bool, bool, float]]:
    """The front first, and then by the metric."""
    quality = view.metric.quality
    return lambda line: (not line.front, line.metric is None, -quality(line.metric or 0.0))


def _add_note(values: dict[str, Any], gone: list[str], known: dict[str, Any], trial_id: int | None, body: str) -> None:
    before = get_note_from_system_attrs(known, trial_id)
    if before["body"] == body or (before["body"] and not before["body"].endswith(MARK)):
        return
    rows = split_body(body, trial_id)
    values |= rows
    values[note_ver_key(trial_id)] = before["version"] + 1
    gone += [key for key in known if key.startswith(note_str_key_prefix(trial_id)) and key not in rows]


def _figures(view: StudyView, lines: Sequence[TrialLine]) -> dict[str, str]:
    """The study's small figures as JSON, by the names that the dashboard shows.

    They ride in every answer of the dashboard's server: of many trials only the best are drawn where each costs much.
    """
    from ..figures import cost, course, schedules
    from ..figures.theme import compact

    quality = view.metric.quality
    known = sorted((line for line in lines if line.metric is not None), key=lambda line: -quality(line.metric or 0.0))
    numbers = {line.number for line in known[:_MOST_DRAWN]} | {line.number for line in lines if line.front}
    best = [line for line in lines if line.number in numbers]
    made = {
        f"{view.metric.name} against cost": cost.figure(cost.drawn(view, best)),
        "the schedules tried": schedules.figure(schedules.drawn(view, lines)),
        "how trials went": course.figure(course.drawn(view, best)),
    }
    for title, figure in made.items():
        figure.update_layout(title={"text": title, "x": 0.02, "y": 0.98}, margin={"t": 90})
    return {title.replace(" ", "-"): compact(figure) for title, figure in made.items()}
