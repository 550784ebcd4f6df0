"""A trial whole, in JSON types: what `show --trial --json` prints, and what its network is described by."""

from __future__ import annotations

from typing import Any

from ..tables.milestones import milestones_of
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.widths import width_rows


def trial_values(view: StudyView, line: TrialLine) -> dict[str, Any]:
    """A trial with its parameters, milestones and widths."""
    trial = view.trials[line.number]
    return {
        **line.values(view.metric.name),
        "params": trial.params,
        "milestones": [milestone._asdict() for milestone in milestones_of(trial)],
        "widths": [row._asdict() for row in width_rows(view, trial)],
    }
