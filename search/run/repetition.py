"""A trial's recipe run again: to see how close it comes, or longer, for one good final network."""

import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
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
from ...studies.database.storage import set_user_attrs, stored_definition
from ...studies.database.trials import HISTORY, RECIPE, finished_trials, release_interrupted, trial_of
from ...studies.definition.reading import Definition
from ..events import Listener
from ..space import Recipe
from ..trial.task import Task
from ..trial.trial import Diverged, Report, run_trial
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
        examples: of the validation split.
    """

    before: list[float]
    after: list[float]
    versions_before: dict[str, str]
    versions_after: dict[str, str]
    examples: int

    @property
    def difference(self) -> float:
        """The largest difference at any milestone, in shares of 1."""
        return max((abs(a - b) for a, b in zip(self.before, self.after, strict=False)), default=0.0)


@dataclass(frozen=True)
class Refinement:
    """What became of a trial whose recipe was trained longer.

    Attributes:
        study: name of the study.
        source: its trial.
        runs: of the recipe, in the order of their seeds.
        trials: how many the study has finished.
        examples: of the validation split.
    """

    study: str
    source: FrozenTrial
    runs: list[FrozenTrial]
    trials: int
    examples: int

    @property
    def complete(self) -> list[FrozenTrial]:
        """The runs that did not diverge."""
        return [run for run in self.runs if run.state == TrialState.COMPLETE]

    @property
    def accuracy(self) -> float:
        """Mean validation accuracy of the runs; NaN if all diverged."""
        return statistics.mean(run.user_attrs["accuracy"] for run in self.complete) if self.complete else math.nan

    @property
    def is_better(self) -> bool:
        """Whether the runs' mean is above the trial's accuracy; any is, where that was stopped early."""
        return self.accuracy > self.source.user_attrs.get("accuracy", -math.inf)


class _StoppedThere(Exception):  # noqa: N818  not an error: the trial was stopped early, and so is its repetition
    pass


def repeat_trial(
    study: optuna.Study, storage: RDBStorage, number: int, *, data_root: str | None, tell: Listener
) -> Again:
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
    if LENGTH in trial.user_attrs:
        task = with_length(task, trial.user_attrs[LENGTH])

    def hear(report: Report) -> None:
        after.append(report.folded_accuracy)
        tell(as_event(number, task.definition, report))
        if len(after) == len(before) and trial.state != TrialState.COMPLETE:
            raise _StoppedThere

    with kept_baseline(study, storage, task) as baseline, suppress(_StoppedThere):
        run_trial(recipe, baseline, task, seed=trial.user_attrs[SEED], hear=hear)
    return Again(before, after, trial.user_attrs.get("versions", {}), versions(), len(task.data.validation))


def refine_trial(
    study: optuna.Study,
    storage: RDBStorage,
    number: int,
    *,
    length: dict[str, Any],
    seeds: Sequence[int],
    data_root: str | None,
    tell: Listener,
) -> tuple[optuna.Study, Refinement]:
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
        The companion study, and what became of the trial.

    Raises:
        StudyError: if the study has no such trial, or the trial had no recipe yet.
    """
    source = trial_of(study, number)
    recipe_of(study, source)
    refined = open_refined(storage, study)
    task = with_length(_task(refined, data_root), length)
    with kept_baseline(study, storage, task) as baseline:
        runs = Runs(refined, storage, task, baseline)
        found = [runs.run(source, seed, tell) for seed in seeds or [source.user_attrs[SEED]]]
    return refined, Refinement(study.study_name, source, found, len(finished_trials(study)), len(task.data.validation))


def open_refined(storage: RDBStorage, study: optuna.Study) -> optuna.Study:
    """The study NAME-refined, created or opened."""
    metrics = stored_definition(study).study.objectives
    return open_companion(storage, study, REFINED, directions=study.directions, metrics=metrics)


def known_run(refined: optuna.Study, source: FrozenTrial, length: dict[str, Any], seed: int) -> FrozenTrial | None:
    """The finished run of a trial's recipe for this length and on this seed, if there is one."""
    wanted = {RECIPE: source.user_attrs[RECIPE], LENGTH: length, SEED: seed}
    finished = finished_trials(refined)
    return next((t for t in finished if all(t.user_attrs.get(key) == value for key, value in wanted.items())), None)


class Runs:
    """Trains recipes of a study's trials again; each recipe, length and seed once.

    Args:
        refined: the study NAME-refined, which keeps the runs.
        storage: its database.
        task: the study's data and costs, with the length of the runs.
        baseline: the trained network.
    """

    def __init__(self, refined: optuna.Study, storage: RDBStorage, task: Task, baseline: nn.Module) -> None:
        self.refined, self.storage, self.task, self.baseline = refined, storage, task, baseline

    def run(self, source: FrozenTrial, seed: int, tell: Listener) -> FrozenTrial:
        """The finished run; one whose training diverged is stopped early, with a note.

        Args:
            source: the trial whose recipe it is.
            seed: of the run.
            tell: receives the progress.

        Raises:
            StudyError: if the recipe is another version's.
        """
        length = length_of(self.task.definition)
        if (known := known_run(self.refined, source, length, seed)) is not None:
            return known
        recipe = recipe_of(self.refined, source)
        about = {SOURCE: source.number, LENGTH: length}
        numbers: list[int] = []

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            numbers.append(trial.number)
            record_recipe(trial, recipe, seed, **about)
            return self._trained(trial, recipe, seed, tell)

        try:
            self.refined.optimize(objective, n_trials=1)
        except BaseException:
            for number in numbers:
                release_interrupted(self.refined, number)
            raise
        return trial_of(self.refined, numbers[0])

    def _trained(self, trial: optuna.Trial, recipe: Recipe, seed: int, tell: Listener) -> tuple[float, ...]:
        definition = self.task.definition
        hear = Recorder(trial, definition, tell)
        try:
            result = run_trial(recipe, self.baseline, self.task, seed=seed, hear=hear)
        except Diverged as stop:
            set_user_attrs(trial, {"note": str(stop), HISTORY: hear.history})
            raise optuna.TrialPruned(str(stop)) from stop
        keep_result(trial, recipe, result, self.task, self.storage)
        return tuple(float(getattr(result.measurement, name)) for name in definition.study.objectives)


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


def _task(study: optuna.Study, data_root: str | None) -> Task:
    definition = stored_definition(study)
    return Task.of(definition if data_root is None else definition.with_data_root(data_root))


def length_of(definition: Definition) -> dict[str, Any]:
    """How long a trial trains, `{"epochs": E}` or `{"compute": C}`."""
    return definition.trial.model_dump(include={"epochs", "compute"}, exclude_none=True)


def with_length(task: Task, length: dict[str, Any]) -> Task:
    """The task with trials of another length."""
    trial = task.definition.trial.model_copy(update={"epochs": None, "compute": None, **length})
    return replace(task, definition=task.definition.model_copy(update={"trial": trial}))


@contextmanager
def kept_baseline(study: optuna.Study, storage: RDBStorage, task: Task) -> Iterator[nn.Module]:
    """The baseline that the study keeps.

    Raises:
        StudyError: if there is none yet, or its file is gone.
    """
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        if load_baseline(study, artifact_store(storage.url), file) is None:
            raise StudyError(f"study {study.study_name!r} has no baseline yet; run it first")
        yield load_network(file, resolve_factory(task.definition.model.factory))
