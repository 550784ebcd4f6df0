"""A study's recipes trained again, each once for a length and a seed: the trials of the study NAME-refined."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from pydantic import ValidationError
from torch import nn

from ....errors import StudyError
from ....models.checkpoints import load_network
from ....models.networks.factories import resolve_factory
from ....names import COSTS
from ....studies.database.companions import REFINED, open_companion
from ....studies.database.optuna_internals import set_user_attrs
from ....studies.database.places.artifacts import load_baseline
from ....studies.database.places.store import artifact_store
from ....studies.database.places.whereabouts import reachable
from ....studies.database.retries import SEED
from ....studies.database.storage import stored_definition
from ....studies.database.trials import HISTORY, RECIPE, finished_trials, metric_of, trial_of, values_of
from ....studies.definition.reading import Definition
from ...events import Listener, Notice
from ...space import Recipe
from ...space.groups import kept_shares
from ...training.arithmetic import Arithmetic
from ...trial.problem import Problem
from ...trial.trial import Diverged, run_trial
from ..checkpoints import Checkpoints
from ..recording import Recorder, keep_result, record_recipe, releasing
from ..teaching import with_taught

# Attributes of a refined trial: the trial it repeats, and for how long.
SOURCE = "refines"
LENGTH = "length"


def open_refined(storage: RDBStorage, study: optuna.Study, notify: Listener) -> optuna.Study:
    """The study NAME-refined, created or opened; `notify` hears of one of another study that it replaced."""
    metric = metric_of(study).name
    metrics = [name if name in COSTS else metric for name in stored_definition(study).study.objectives]
    return open_companion(
        storage, study, REFINED, directions=study.directions, metrics=metrics, told=lambda line: notify(Notice(line))
    )


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
        problem: the study's data and costs, with the length of the runs.
        baseline: the trained network.
    """

    def __init__(self, refined: optuna.Study, storage: RDBStorage, problem: Problem, baseline: nn.Module) -> None:
        self.refined, self.storage, self.problem, self.baseline = refined, storage, problem, baseline

    def run(self, source: FrozenTrial, seed: int, notify: Listener) -> FrozenTrial:
        """The finished run; one whose training diverged is stopped early, with a note.

        Args:
            source: the trial whose recipe it is.
            seed: of the run.
            notify: receives the progress.

        Raises:
            StudyError: if the recipe is another version's.
        """
        length = length_of(self.problem.definition)
        if (known := known_run(self.refined, source, length, seed)) is not None:
            return known
        recipe = recipe_of(self.refined, source)
        about = {SOURCE: source.number, LENGTH: length, **kept_shares(recipe, self.problem.costs)}
        with releasing(self.refined) as begun:

            def objective(trial: optuna.Trial) -> tuple[float, ...]:
                begun.append(trial.number)
                record_recipe(trial, recipe, seed, self.problem, **about)
                return self._trained(trial, recipe, seed, notify)

            self.refined.optimize(objective, n_trials=1)
        return trial_of(self.refined, begun[0])

    def _trained(self, trial: optuna.Trial, recipe: Recipe, seed: int, notify: Listener) -> tuple[float, ...]:
        definition = self.problem.definition
        recorder = Recorder(trial, definition, notify)
        about = {"recipe": recipe.to_dict(), "seed": seed, "length": length_of(definition)}
        checkpoint = Checkpoints(self.storage.url, notify).of_run(self.refined, about)
        try:
            with checkpoint.kept_until_its_end():
                result = run_trial(
                    recipe,
                    self.baseline,
                    self.problem,
                    seed=seed,
                    on_report=recorder,
                    checkpoint=checkpoint,
                    on_resume=recorder.resume,
                )
        except Diverged as stop:
            set_user_attrs(trial, {"note": str(stop), HISTORY: recorder.history})
            raise optuna.TrialPruned(str(stop)) from stop
        keep_result(trial, recipe, result, self.problem, self.storage)
        return values_of(result.measurement, definition)


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


def length_of(definition: Definition) -> dict[str, Any]:
    """How long a trial trains, `{"epochs": E}` or `{"compute": C}`."""
    return definition.trial.model_dump(include={"epochs", "compute"}, exclude_none=True)


def with_length(problem: Problem, length: dict[str, Any]) -> Problem:
    """The problem with trials of another length."""
    trial = problem.definition.trial.model_copy(update={"epochs": None, "compute": None, **length})
    return replace(problem, definition=problem.definition.model_copy(update={"trial": trial}))


@contextmanager
def kept_baseline(
    study: optuna.Study, storage: RDBStorage, problem: Problem, notify: Listener
) -> Iterator[tuple[nn.Module, Problem]]:
    """The baseline that the study keeps, and the problem with what its networks train in.

    Raises:
        StudyError: if there is none yet, or its file is gone.
    """
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        record = load_baseline(study, artifact_store(reachable(storage.url)), file)
        if record is None:
            raise StudyError(f"study {study.study_name!r} has no baseline yet; run it first")
        network = load_network(file, resolve_factory(problem.definition.model.factory))
    problem = replace(problem, arithmetic=Arithmetic.of(record))
    yield network, with_taught(problem, network, study, storage, notify)
