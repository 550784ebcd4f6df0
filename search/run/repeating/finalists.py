"""Finalists: a study's best recipes trained again on new seeds, since the best of many accuracies is a lucky one."""

import json
import statistics
from dataclasses import dataclass, replace
from typing import NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ....studies.database.companions import REFINED, find_companion, is_companion
from ....studies.database.retries import KNOWN
from ....studies.database.trials import (
    RECIPE,
    best_trial,
    finished_trials,
    history_of,
    measurement_of,
    meets_budget,
    metric_of,
    metric_value,
    ranked_trials,
)
from ....studies.definition.reading import Definition
from ...events import Event, FinalistEnded, FinalistsStarted, Listener, Notice, TrialReport
from ...trial.problem import Problem
from .runs import Runs, kept_baseline, known_run, length_of, open_refined

# Runs of each finalist. Two: they show how far runs of one recipe differ, and cost no more than the search can bear.
RUNS = 2
# The trials' own seeds are the study's and their numbers after it: these are new ones, the same for all finalists.
_FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class Finalist:
    """One recipe that is trained again.

    Attributes:
        trial: of the study; the best one where several have this recipe.
        known: whether it is the known recipe at equal shares.
        runs: what was trained of it again, by seed, the lowest first; none of them of the trial itself.
    """

    trial: FrozenTrial
    known: bool
    runs: tuple[FrozenTrial, ...] = ()

    @property
    def values(self) -> list[float]:
        """The metric on the validation split of the runs that did not diverge."""
        return [value for run in self.runs if (value := metric_value(run)) is not None]

    @property
    def mean(self) -> float | None:
        """The mean of the runs; None where one diverged or is still to come."""
        return statistics.mean(self.values) if len(self.values) == RUNS else None


class Selection(NamedTuple):
    """What a study delivers.

    Attributes:
        study: that has the trial: the study itself or, where there were finalists, NAME-refined.
        trial: whose network is delivered.
        source: the study's trial with this recipe.
        finalists: that it was chosen from, the best first; empty where the best trial itself is delivered.
        pending: whether there are to be finalists and not all of them are trained yet.
    """

    study: optuna.Study
    trial: FrozenTrial
    source: FrozenTrial
    finalists: list[Finalist]
    pending: bool = False


def select(study: optuna.Study, storage: RDBStorage, definition: Definition) -> Selection:
    """The finalist of the best mean, by its run of the lowest seed: to take the better one would be to choose again.

    Raises:
        StudyError: if no trial has completed within the budget.
    """
    finalists = finalists_of(study, storage, definition)
    if finalists and all(len(finalist.runs) == RUNS for finalist in finalists):
        quality = metric_of(study).quality
        done = [(finalist.mean, finalist) for finalist in finalists]
        ranked = [each for _, each in sorted(((quality(a), f) for a, f in done if a is not None), key=_rank)]
        if ranked:
            diverged = [finalist for mean, finalist in done if mean is None]
            refined = find_companion(storage, study, REFINED)
            assert refined is not None, "it holds the runs"
            return Selection(refined, ranked[0].runs[0], ranked[0].trial, [*ranked, *diverged])
    best = best_trial(study, definition)
    pending = any(len(finalist.runs) < RUNS for finalist in finalists)
    return Selection(study, best, best, [], pending)


def finalists_of(study: optuna.Study, storage: RDBStorage, definition: Definition) -> list[Finalist]:
    """The recipes of the best trials within the budget and the known one, with the runs that there are.

    None where the definition asks for none, with several objectives, or where there is nothing to choose from.
    """
    if definition.search.finalists == 1 or len(definition.study.objectives) > 1 or is_companion(study):
        return []
    by_recipe: dict[str, FrozenTrial] = {}
    for trial, _ in ranked_trials(study, definition):
        by_recipe.setdefault(_key(trial), trial)
    chosen = dict(list(by_recipe.items())[: definition.search.finalists])
    known = known_trial(study)
    if known is not None and _may_be_finalist(known, definition):
        chosen.setdefault(_key(known), by_recipe.get(_key(known), known))
    if len(chosen) < 2:
        return []
    refined = find_companion(storage, study, REFINED)
    return [
        Finalist(trial, known is not None and key == _key(known), _runs(refined, trial, definition))
        for key, trial in chosen.items()
    ]


def known_trial(study: optuna.Study) -> FrozenTrial | None:
    """The finished trial of the known recipe at equal shares, if there is one; a complete one rather than another."""
    trials = [trial for trial in finished_trials(study) if KNOWN in trial.user_attrs and RECIPE in trial.user_attrs]
    return min(trials, key=lambda trial: (trial.state != TrialState.COMPLETE, trial.number), default=None)


def train_finalists(
    study: optuna.Study, storage: RDBStorage, definition: Definition, notify: Listener, problem: Problem | None = None
) -> None:
    """Trains in this process what is still to be trained of a study's finalists; results lie in NAME-refined.

    Args:
        study: with all its trials.
        storage: its database.
        definition: of the study.
        notify: receives the progress.
        problem: the study's data and costs, if they are loaded already.

    Raises:
        StudyError: if the baseline's file is gone, or a recipe is another version's.
    """
    finalists = finalists_of(study, storage, definition)
    if all(len(finalist.runs) == RUNS for finalist in finalists):
        return
    notify(Notice(_announcement(finalists)))
    refined = open_refined(storage, study, notify)
    problem = _named(problem or Problem.of(definition), refined.study_name)
    examples = len(problem.data.validation)
    wanted = [(finalist.trial, seed) for finalist in finalists for seed in seeds(definition)]
    notify(FinalistsStarted(len(wanted)))
    with kept_baseline(study, storage, problem, notify) as (baseline, problem):
        runs = Runs(refined, storage, problem, baseline)
        for number, (trial, seed) in enumerate(wanted, start=1):
            found = runs.run(trial, seed, _as_trial(trial.number, notify))
            value, seconds = metric_value(found), seconds_of([found])
            notify(FinalistEnded(trial.number, seed, number, len(wanted), value, examples, seconds))


def seeds(definition: Definition) -> list[int]:
    """The new seeds that every finalist is trained on."""
    return [definition.study.seed + _FIRST_SEED + number for number in range(RUNS)]


def compute_of(runs: list[FrozenTrial]) -> float:
    """What trials cost, in epochs of the baseline's training."""
    return sum(history[-1]["compute"] for run in runs if (history := history_of(run)))


def seconds_of(runs: list[FrozenTrial]) -> float:
    """How long trials took."""
    return sum(run.duration.total_seconds() for run in runs if run.duration is not None)


def _rank(pair: tuple[float, Finalist]) -> tuple[float, int, int]:
    quality, finalist = pair
    return -quality, finalist.runs[0].user_attrs["macs"], finalist.trial.number


def _key(trial: FrozenTrial) -> str:
    return json.dumps(trial.user_attrs[RECIPE], sort_keys=True)


def _may_be_finalist(known: FrozenTrial, definition: Definition) -> bool:
    """Whether it is within the budget: one that was stopped early was not timed, and meets the others anyway."""
    measurement = measurement_of(known)
    return definition.study.budget.latency is None if measurement is None else meets_budget(measurement, definition)


def _runs(refined: optuna.Study | None, trial: FrozenTrial, definition: Definition) -> tuple[FrozenTrial, ...]:
    if refined is None:
        return ()
    length = length_of(definition)
    found = (known_run(refined, trial, length, seed) for seed in seeds(definition))
    return tuple(run for run in found if run is not None)


def _announcement(finalists: list[Finalist]) -> str:
    known = " (the known recipe)"
    names = [f"{finalist.trial.number}{known if finalist.known else ''}" for finalist in finalists]
    return (
        f"finalists: the recipes of trials {', '.join(names[:-1])} and {names[-1]} are trained again on "
        f"{RUNS} new seeds each, in this process; only these runs count"
    )


def _named(problem: Problem, name: str) -> Problem:
    definition = problem.definition
    return replace(
        problem,
        definition=definition.model_copy(update={"study": definition.study.model_copy(update={"name": name})}),
    )


def _as_trial(number: int, notify: Listener) -> Listener:
    """Reports of a run as those of the study's trial whose recipe it is."""

    def heard(event: Event) -> None:
        notify(replace(event, trial=number) if isinstance(event, TrialReport) else event)

    return heard
