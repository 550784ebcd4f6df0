"""Running a study in one process: its baseline once, then trials until there are enough."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from torch import nn

from ...errors import BranchfoldError, StudyError
from ...models.checkpoints import load_network
from ...models.fitting.activations import sensitivity
from ...models.networks.factories import resolve_factory
from ...studies.database.artifacts import artifact_store, load_baseline, save_baseline
from ...studies.database.storage import open_study, set_user_attrs
from ...studies.database.trials import HISTORY, Measurement, measurement_of, meets_budget, release_interrupted
from ...studies.definition.dimensions import parse_dimension, plain
from ..events import BaselineReady, Listener, TrialEnded, TrialStarted
from ..space import Recipe, SearchSpace
from ..space.known import known_recipes
from ..trial.baseline import make_baseline
from ..trial.task import Task
from ..trial.trial import Diverged, run_trial
from .recording import Recorder, keep_result, record_recipe, repeat_result, same_trial
from .samplers import make_pruner, make_sampler
from .screening import Screening, screen

# A study whose trials all fail would otherwise go on for ever.
FAILURES_IN_A_ROW = 3
# A study's attributes: what screening found, set when the first trials are queued; whether a grid has no more to try.
PREPARED = "prepared"
EXHAUSTED = "exhausted"


def is_exhausted(study: optuna.Study) -> bool:
    """Whether every combination of the study's grid was tried, and none is queued again."""
    return EXHAUSTED in study.user_attrs and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


class Interrupted(BaseException):
    """The user or the system asked to stop. Not a KeyboardInterrupt: Lightning would turn that into an exit."""


class Worker:
    """Runs trials of one study in this process.

    Args:
        task: the study's data and costs.
        storage: its database.
        tell: receives the progress.
        number: of this worker among those of the run; their samplers draw differently.
    """

    def __init__(self, task: Task, storage: RDBStorage, tell: Listener, number: int = 0) -> None:
        self.task, self.storage, self.tell = task, storage, tell
        self.store = artifact_store(storage.url)
        self.number = number
        self.study = open_study(storage, task.definition)
        self.study.pruner = make_pruner(task.definition)
        make_sampler(task.definition, self._space().dimensions(), seed=0)  # a sampler that cannot be had, told at once
        self._check_screening()
        self._failures: list[str] = []
        self._current: int | None = None

    def baseline(self) -> nn.Module:
        """The study's baseline; made now if no run has made it.

        Raises:
            StudyError: if the baseline's file is gone.
            NetworkError: if its checkpoint does not fit.
        """
        with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
            path = Path(folder) / f"{self.study.study_name}-baseline.safetensors"
            record = load_baseline(self.study, self.store, path)
            if record is None:
                made = make_baseline(self.task, path, self.tell)
                save_baseline(self.study, self.storage, self.store, path, made)
                # Another process may have been faster; its baseline is the study's then.
                record = load_baseline(self.study, self.store, path)
                assert record is not None
            else:
                record = {**record, "source": "from an earlier run"}
            network = load_network(path, resolve_factory(self.task.definition.model.factory))
        self.tell(BaselineReady(**{key: record[key] for key in BaselineReady.__dataclass_fields__}))
        return network

    def prepare(self, baseline: nn.Module) -> None:
        """Screens widths and queues the trials that a study begins with; once for a study, before any worker runs.

        Args:
            baseline: the trained network.
        """
        if PREPARED in self.study.user_attrs:
            return
        space = self._space(baseline)
        found = screen(self.task, space, baseline, self.study, self.storage, self.tell)
        for values in self._first_trials(space, found):
            self.study.enqueue_trial(values, skip_if_exists=True)
        shares = {name: plain(dimension) for name, dimension in found.shares.items()}
        self.study.set_user_attr(PREPARED, {"shares": shares, "starts": found.starts})

    def run(self, target: int, baseline: nn.Module) -> None:
        """Runs trials until `target` are finished or running anywhere.

        Raises:
            Interrupted: if asked to stop; the interrupted trial's parameters are queued again.
            StudyError: if several trials fail in a row.
        """
        shares = self.study.user_attrs.get(PREPARED, {}).get("shares", {})
        space = self._space(baseline, {name: parse_dimension(value) for name, value in shares.items()})
        # A resumed study must not draw its first proposals again.
        entropy = [self.task.definition.study.seed, self.number, len(self.study.get_trials(deepcopy=False))]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self.study.sampler = make_sampler(self.task.definition, space.dimensions(), seed)
        while self._wanted(target):
            self._current = None
            try:
                self.study.optimize(
                    lambda trial: self._objective(trial, space, baseline), n_trials=1, catch=(BranchfoldError,)
                )
            except BaseException:
                if self._current is not None:
                    release_interrupted(self.study, self._current)
                raise
            if self.study._stop_flag:  # Optuna's grid asks to stop when it is through, which ends this one call alone
                self.study.set_user_attr(EXHAUSTED, True)
            if len(self._failures) >= FAILURES_IN_A_ROW:
                raise StudyError(f"{len(self._failures)} trials failed in a row, the last one: {self._failures[-1]}")

    def _check_screening(self) -> None:
        definition = self.task.definition
        if definition.search.sampler == "grid" and definition.screening.candidates and self._space().searches_widths:
            raise StudyError(
                'search.sampler = "grid" cannot be screened: screening searches widths between the steps; '
                "set screening.candidates = 0"
            )

    def _space(self, baseline: nn.Module | None = None, shares: Mapping[str, Any] | None = None) -> SearchSpace:
        def errors() -> Mapping[str, Sequence[float]]:
            assert baseline is not None
            return self._errors_of(baseline)

        return SearchSpace(self.task.definition, self.task.costs, errors, shares)

    def _errors_of(self, baseline: nn.Module) -> Mapping[str, Sequence[float]]:
        if not self._errors:
            example = torch.zeros(2, *self.task.data.input_shape)
            found = sensitivity(baseline, example, self.task.calibration_batches)
            self._errors.update({name: curve.tolist() for name, curve in found.items()})
        return self._errors

    @cached_property
    def _errors(self) -> dict[str, list[float]]:
        return {}

    def _first_trials(self, space: SearchSpace, found: Screening) -> list[dict[str, Any]]:
        """Known recipes, with the best widths if there are any, then the other best widths."""
        best: Mapping[str, Any] = found.starts[0] if found.starts else {}
        recipes = known_recipes(space, self.task.definition.search.recipes)
        first = [{**values, **best} for values in recipes.values()]
        return [*first, *(dict(start) for start in found.starts[1 if first else 0 :])]

    def _wanted(self, target: int) -> bool:
        counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        if is_exhausted(self.study):
            return False
        return len(self.study.get_trials(deepcopy=False, states=counted)) < target

    def _objective(self, trial: optuna.Trial, space: SearchSpace, baseline: nn.Module) -> tuple[float, ...]:
        self._current = trial.number
        started = time.monotonic()
        ended = TrialEnded(trial.number, "complete", None, None, None, "", 0.0)
        hear = Recorder(trial, self.task.definition, self.tell)
        try:
            recipe = space.propose(trial)
            ended = ended._replace(shape=recipe.shape)
            if (other := same_trial(self.study, recipe)) is not None:
                ended = ended._replace(note=f"same as trial {other.number}")
                values, measured = repeat_result(trial, other, self.task.definition), measurement_of(other)
            else:
                values, measured = self._run(trial, recipe, baseline, hear)
        except (optuna.TrialPruned, Diverged) as stop:
            self._failures.clear()
            self._end(trial, hear, ended._replace(state="pruned", note=ended.note or str(stop)), started)
            raise optuna.TrialPruned(str(stop)) from stop
        except BranchfoldError as error:
            self._failures.append(str(error))
            self._end(trial, hear, ended._replace(state="fail", note=str(error)), started)
            raise
        self._failures.clear()
        assert measured is not None
        self.tell(
            ended._replace(
                accuracy=measured.accuracy,
                macs_share=measured.macs_share,
                parameters_share=measured.parameters_share,
                seconds=time.monotonic() - started,
                within=meets_budget(measured, self.task.definition),
            )
        )
        return values

    def _end(self, trial: optuna.Trial, hear: Recorder, ended: TrialEnded, started: float) -> None:
        """Keeps and tells how a trial ended that did not complete."""
        kept: dict[str, Any] = {HISTORY: hear.history} if hear.history else {}
        if ended.note:
            kept["note"] = ended.note
        if kept:
            set_user_attrs(trial, kept)
        self.tell(ended._replace(seconds=time.monotonic() - started))

    def _run(
        self, trial: optuna.Trial, recipe: Recipe, baseline: nn.Module, hear: Recorder
    ) -> tuple[tuple[float, ...], Measurement]:
        definition = self.task.definition
        seed = definition.study.seed + trial.number
        record_recipe(trial, recipe, seed)
        share = self.task.costs.cost(recipe.widths).macs / self.task.costs.full.macs
        self.tell(TrialStarted(trial.number, recipe.shape, share))
        result = run_trial(recipe, baseline, self.task, seed=seed, hear=hear)
        keep_result(trial, recipe, result, self.task, self.storage)
        values = (float(getattr(result.measurement, name)) for name in definition.study.objectives)
        return tuple(values), result.measurement
