"""The table of screened widths: untrained loss beside what a training made of the same widths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr

from ..database.trials import measurement_of
from .study import StudyView


class Screened(NamedTuple):
    """Widths that were judged untrained.

    Attributes:
        number: of the candidate.
        loss: on the validation split, untrained.
        trial: the study's trial with these widths that trained best; None if none has them.
        metric: of that trial.
    """

    number: int
    loss: float
    trial: int | None
    metric: float | None


class Correlation(NamedTuple):
    """How well the order by untrained loss is that by trained metric: Spearman's coefficient, of so many widths.

    1: a lower loss always trains to a better metric; `p_value` is of a coefficient so far from 0 by chance.
    """

    coefficient: float
    p_value: float
    widths: int


def screened_rows(view: StudyView) -> list[Screened]:
    """A row for each candidate that was judged, the least loss first."""
    quality = view.metric.quality
    trained: dict[Any, tuple[int, float]] = {}
    for trial in view.trials:
        recipe, measurement = view.recipe(trial), measurement_of(trial)
        if recipe is None or measurement is None:
            continue
        key = _key(recipe["widths"])
        if key not in trained or quality(measurement.metric) > quality(trained[key][1]):
            trained[key] = (trial.number, measurement.metric)
    rows = []
    for candidate in view.screened:
        if candidate.state == TrialState.COMPLETE and candidate.value is not None:
            trial_number, metric = trained.get(_key(widths_of(candidate)), (None, None))
            rows.append(Screened(candidate.number, candidate.value, trial_number, metric))
    return sorted(rows, key=lambda row: row.loss)


def widths_of(candidate: FrozenTrial) -> dict[str, int]:
    """The widths that a candidate of a screening proposed."""
    return dict(candidate.user_attrs.get("widths", {}))


def rank_correlation(view: StudyView, rows: list[Screened]) -> Correlation | None:
    """Of the widths that were trained as well; None of fewer than three, or where they do not differ."""
    pairs = [(-row.loss, view.metric.quality(row.metric)) for row in rows if row.metric is not None]
    if len(pairs) < 3 or any(len({pair[i] for pair in pairs}) < 2 for i in (0, 1)):
        return None
    found = spearmanr(*zip(*pairs, strict=True))
    if math.isnan(found.statistic):
        return None
    return Correlation(float(found.statistic), float(found.pvalue), len(pairs))


def _key(widths: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(widths.items()))
