"""How a recipe lets α fall, as those see it who do not train: its stages, and the mean α at any progress."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import ValidationError

from ...errors import ScheduleError
from ...studies.tables.study import Course, Span
from .recipe import Recipe

# Points of each window: steps look like steps.
_POINTS = 200
# So much of a slope, which is in α for a whole trial, a line may turn before a point is kept.
_BEND = 0.05


def course_of(recipe: Mapping[str, Any]) -> Course | None:
    """The course of a recipe in JSON types; None for another version's recipe."""
    try:
        return course(Recipe.from_dict(dict(recipe)))
    except (ValidationError, ScheduleError):
        return None


def course(recipe: Recipe) -> Course:
    """The stages of a recipe, and the mean α of its groups where it bends and between."""
    windows = recipe.windows()
    names = [name for stage in recipe.groups_of_stages() for name in stage]
    stages = tuple(
        Span(stage, min(windows[name].start for name in stage), max(windows[name].end for name in stage))
        for stage in recipe.groups_of_stages()
    )
    schedule = recipe.schedule()
    if schedule.observes or not names:
        return Course(stages, ())
    places = {0.0, 1.0}
    for window in set(windows.values()):
        places |= {window.start + (window.end - window.start) * i / _POINTS for i in range(_POINTS + 1)}
    falls = [windows[name].progress for name in names]
    points = []
    for place in sorted(places):
        known: dict[float, float] = {}  # most groups share their window with others
        alphas = [known.setdefault(t, schedule(t)) for t in (fall(place) for fall in falls)]
        points.append((place, sum(alphas) / len(alphas)))
    return Course(stages, tuple(_bends(points)))


def alphas_of(recipe: Recipe, count: int) -> tuple[float, ...]:
    """The mean α at `count` even distances from a trial's beginning to its end; none where it follows from losses."""
    points = course(recipe).points
    if not points:
        return ()
    places, alphas = zip(*points, strict=True)
    return tuple(map(float, np.interp(np.linspace(0.0, 1.0, count), places, alphas)))


def _bends(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a line without those at which it goes on as it began after the point before."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)]
    kept, slope = points[:1], slopes[0]
    for point, after in zip(points[1:], slopes[1:], strict=False):
        if abs(after - slope) > _BEND * max(1.0, abs(slope)):
            kept.append(point)
            slope = after
    return [*kept, points[-1]]
