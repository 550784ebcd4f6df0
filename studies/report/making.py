"""A study made into a report's document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version

from ..tables.importances import Evaluator, importances
from ..tables.study import StudyView
from ..tables.trials import TrialLine, trial_lines
from . import costs, findings, record
from .answer import answer, answer_section
from .document import Document, Section, without_empty

_Make = Callable[[StudyView, Sequence[TrialLine]], Section]
_BEFORE: tuple[_Make, ...] = (
    answer_section,
    costs.cost_section,
    partial(costs.further_cost_section, index=1),
    partial(costs.further_cost_section, index=2),
    findings.schedules_section,
    findings.shapes_section,
)
# Between these stand the parameters, whose importances take long and are found once.
_AFTER: tuple[_Make, ...] = (
    findings.widths_section,
    findings.stages_section,
    findings.course_section,
    findings.screening_section,
    findings.history_section,
    record.trials_section,
    record.failures_section,
    record.reproduction_section,
)


def make_document(view: StudyView, evaluator: Evaluator = "ped-anova") -> Document:
    """The report of a study as it is now; one without finished trials has a short one.

    Args:
        view: of the study.
        evaluator: of the parameters' importances.
    """
    lines = trial_lines(view)
    found = importances(view, lines, evaluator)
    parts = [
        findings.importances_section(view, lines, found, evaluator),
        findings.parameters_section(view, lines, found),
    ]
    now = datetime.now().astimezone()
    return Document(
        title=f"Study {view.name}",
        answer=answer(view, lines),
        sections=without_empty([*_all(_BEFORE, view, lines), *parts, *_all(_AFTER, view, lines)]),
        made=f"Made by branchfold {version('branchfold')} on {now:%Y-%m-%d at %H:%M %Z}.",
    )


def _all(makers: Sequence[_Make], view: StudyView, lines: Sequence[TrialLine]) -> list[Section]:
    return [make(view, lines) for make in makers]
