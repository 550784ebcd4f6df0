"""A trial's recipe run again: to see how close it comes, or longer, for one good final network."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError
from torch import nn

from ...errors import StudyError
from ...models.checkpoints import load_network
from ...models.networks.factories import resolve_factory
from ...studies.database.artifacts import artifact_store, load_baseline
from ...studies.database.companions import REFINED, open_companion
from ...studies.database.storage import stored_definition
from ...studies.database.trials import HISTORY, RECIPE, finished_trials, trial_of
from ..events import Listener
from ..space import Recipe
from ..trial.task import Task
from ..trial.trial import Report, run_trial
from .recording import SEED, Recorder, as_event, keep_result, record_recipe, versions

# Attributes of a refined trial: the trial it repeats, and for how long.
SOURCE = "refines"
LENGTH = "length"


class Again(NamedTuple):
    """How close a repeated trial came.

    Attributes:
        before: accuracies at α = 0 at the milestones, as the study has them.
        after: the same of the repetition, as far as the trial came.
        versions_before: of the packages then.
        versions_after: and now.
    """

    before: list[float]
    after: list[float]
    versions_before: dict[str, str]
    versions_after: dict[str, str]

    @property
    def difference(self) -> float:
        """The largest difference at any milestone, in shares of 1."""
        return max((abs(a - b) for a, b in zip(self.before, self.after, strict=False)), default=0.0)


class _StoppedThere(Exception):  # noqa: N818  not an error: the trial was stopped early, and so is its repetition
    pass


def rerun(study: optuna.Study, storage: RDBStorage, number: int, *, data_root: str | None, tell: Listener) -> Again:
    """Repeats a trial with its recipe and seed, as far as it came; nothing is recorded.

    Raises:
        StudyError: if the study has no such trial, or the trial had no recipe yet.
    """
    trial = trial_of(study, number)
    recipe = recipe_of(study, trial)
    before = [entry["folded_accuracy"] for entry in trial.user_attrs.get(HISTORY, [])]
    if not before:
        raise StudyError(f"trial {number} of {study.study_name!r} reported nothing that could be compared")
    after: list[float] = []
    task = _task(study, data_root)

    def hear(report: Report) -> None:
        after.append(report.folded_accuracy)
        tell(as_event(number, task.definition, report))
        if len(after) == len(before) and trial.state != TrialState.COMPLETE:
            raise _StoppedThere

    with _baseline(study, storage, task) as baseline, suppress(_StoppedThere):
        run_trial(recipe, baseline, task, seed=trial.user_attrs[SEED], hear=hear)
    return Again(before, after, trial.user_attrs.get("versions", {}), versions())


def refine(
    study: optuna.Study,
    storage: RDBStorage,
    number: int,
    *,
    length: dict[str, Any],
    seeds: Sequence[int],
    data_root: str | None,
    tell: Listener,
) -> tuple[optuna.Study, list[FrozenTrial]]:
    """Trains a trial's recipe for another length, once for each seed; results lie in the study NAME-refined.

    What is there already of this length and seed is not run again.

    Args:
        study: the study.
        storage: its database.
        number: of the trial.
        length: `{"epochs": E}` or `{"compute": C}`.
        seeds: one run each; none means the trial's own.
        data_root: folder of the data, if it is another than the definition's.
        tell: receives the progress.

    Returns:
        The companion study, and its trials in the order of the seeds.

    Raises:
        StudyError: if the study has no such trial, or the trial had no recipe yet.
    """
    source = trial_of(study, number)
    recipe = recipe_of(study, source)
    metrics = stored_definition(study).study.objectives
    refined = open_companion(storage, study, REFINED, directions=study.directions, metrics=metrics)
    task = _with_length(_task(refined, data_root), length)
    found = []
    with _baseline(study, storage, task) as baseline:
        for seed in seeds or [source.user_attrs[SEED]]:
            wanted = {SOURCE: number, LENGTH: length, SEED: seed}
            if (known := _known(refined, wanted)) is None:
                objective = partial(
                    _objective, recipe=recipe, baseline=baseline, task=task, storage=storage, wanted=wanted, tell=tell
                )
                refined.optimize(objective, n_trials=1)
                known = _known(refined, wanted)
                assert known is not None
            found.append(known)
    return refined, found


def recipe_of(study: optuna.Study, trial: FrozenTrial) -> Recipe:
    """The recipe that a trial ran.

    Raises:
        StudyError: if it has none, or one of another version of branchfold.
    """
    if RECIPE not in trial.user_attrs:
        state = trial.state.name.lower()
        raise StudyError(f"trial {trial.number} of {study.study_name!r} ({state}) had no recipe yet")
    try:
        return Recipe.from_dict(trial.user_attrs[RECIPE])
    except ValidationError as error:
        raise StudyError(
            f"trial {trial.number} of {study.study_name!r} was made by another version of branchfold: its recipe's "
            f"{error.errors()[0]['loc'][0]} is not understood"
        ) from error


def _objective(
    trial: optuna.Trial,
    recipe: Recipe,
    baseline: nn.Module,
    task: Task,
    storage: RDBStorage,
    wanted: dict[str, Any],
    tell: Listener,
) -> tuple[float, ...]:
    record_recipe(trial, recipe, wanted[SEED], **{SOURCE: wanted[SOURCE], LENGTH: wanted[LENGTH]})
    hear = Recorder(trial, task.definition, tell)
    result = run_trial(recipe, baseline, task, seed=wanted[SEED], hear=hear)
    keep_result(trial, recipe, result, task, storage)
    return tuple(float(getattr(result.measurement, name)) for name in task.definition.study.objectives)


def _known(refined: optuna.Study, wanted: dict[str, Any]) -> FrozenTrial | None:
    finished = finished_trials(refined)
    return next((t for t in finished if all(t.user_attrs.get(key) == value for key, value in wanted.items())), None)


def _task(study: optuna.Study, data_root: str | None) -> Task:
    definition = stored_definition(study)
    return Task.of(definition if data_root is None else definition.with_data_root(data_root))


def _with_length(task: Task, length: dict[str, Any]) -> Task:
    trial = task.definition.trial.model_copy(update={"epochs": None, "compute": None, **length})
    return replace(task, definition=task.definition.model_copy(update={"trial": trial}))


@contextmanager
def _baseline(study: optuna.Study, storage: RDBStorage, task: Task) -> Iterator[nn.Module]:
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        if load_baseline(study, artifact_store(storage.url), file) is None:
            raise StudyError(f"study {study.study_name!r} has no baseline yet; run it first")
        yield load_network(file, resolve_factory(task.definition.model.factory))
