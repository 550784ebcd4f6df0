"""What a study begins with: its screening, shared by all processes that run it, and the trials that come first."""

import time
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from torch import nn

from ...studies.database.optuna_internals import claim
from ...studies.database.retries import KNOWN
from ...studies.database.rungs import RUNG, rungs
from ...studies.definition.dimensions import plain
from ...studies.definition.reading import Definition
from ..events import Listener, Notice
from ..space import SearchSpace
from ..space.known import REFERENCE, equal_widths, known_recipes
from ..trial.problem import Problem
from .screening.screening import Screening, including, screen

# A study's attribute: what screening found, set when the first trials are queued.
PREPARED = "prepared"
# And that a process queues them, which takes it no longer than so many seconds.
QUEUEING = "queueing"
_QUEUEING_TIMEOUT = 15.0


def prepare(
    problem: Problem,
    space: SearchSpace,
    baseline: nn.Module,
    study: optuna.Study,
    storage: RDBStorage,
    notify: Listener,
) -> None:
    """Screens widths and queues the trials that a study begins with; once for a study, before any trial.

    Several processes may do this at once: they share the candidates, and one of them queues.

    Args:
        problem: the study's.
        space: as the definition has it.
        baseline: the trained network.
        study: the study.
        storage: its database.
        notify: receives the progress.
    """
    if PREPARED in study.user_attrs:
        return
    found = screen(problem, space, baseline, study, storage, notify)
    if not claim(study, QUEUEING) and _others_queue(study):
        return
    recipes = known_recipes(space, problem.definition.search.recipes)
    dimensions = found.shares
    if (reference := recipes.get(REFERENCE)) is not None:
        equal = equal_widths(space) if found.starts else {}
        attributes = {KNOWN: REFERENCE, **_whole(problem.definition)}
        study.enqueue_trial({**reference, **equal}, user_attrs=attributes, skip_if_exists=True)
        dimensions = including(found.shares, equal)
    elif REFERENCE in problem.definition.search.recipes:
        notify(Notice(f"this space has no room for the known recipe {REFERENCE}: no trial is compared with it"))
    for values in _first_trials(recipes, found):
        study.enqueue_trial(values, skip_if_exists=True)
    shares = {name: plain(dimension) for name, dimension in dimensions.items()}
    study.set_user_attr(PREPARED, {"shares": shares, "starts": found.starts})


def _whole(definition: Definition) -> dict[str, Any]:
    """The attributes of a whole trial: what a search must not lose to is one from the beginning, whatever its rungs."""
    table = definition.search
    return {} if table.rungs == 1 else {RUNG: rungs(table.rungs, table.reduction_factor)[-1].to_dict()}


def _others_queue(study: optuna.Study) -> bool:
    """Waits for the process that queues the first trials; False if it is so late that it must have died."""
    deadline = time.monotonic() + _QUEUEING_TIMEOUT
    while PREPARED not in study.user_attrs:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _first_trials(recipes: Mapping[str, Mapping[str, Any]], found: Screening) -> list[dict[str, Any]]:
    """Known recipes, with the best widths if there are any, then the other best widths."""
    best: Mapping[str, Any] = found.starts[0] if found.starts else {}
    first = [{**values, **best} for values in recipes.values()]
    return [*first, *(dict(start) for start in found.starts[1 if first else 0 :])]
