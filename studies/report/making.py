"""A study made into a report's document."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

from ..tables.study import StudyView
from ..tables.trials import trial_lines
from . import findings, record
from .answer import answer, answer_section
from .document import Document, without_empty

_SECTIONS = (
    answer_section,
    findings.cost_section,
    findings.schedules_section,
    findings.shapes_section,
    findings.importances_section,
    findings.parameters_section,
    findings.widths_section,
    findings.stages_section,
    findings.course_section,
    findings.screening_section,
    findings.history_section,
    record.trials_section,
    record.failures_section,
    record.reproduction_section,
)


def make_document(view: StudyView) -> Document:
    """The report of a study as it is now; one without finished trials has a short one."""
    lines = trial_lines(view)
    now = datetime.now().astimezone()
    return Document(
        title=f"Study {view.name}",
        answer=answer(view, lines),
        sections=without_empty([make(view, lines) for make in _SECTIONS]),
        made=f"Made by branchfold {version('branchfold')} on {now:%Y-%m-%d at %H:%M %Z}.",
    )
