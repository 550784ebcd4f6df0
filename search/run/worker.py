"""Running a study in one process: its baseline once, then trials until there are enough."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from torch import nn

from ...errors import BranchfoldError, StudyError
from ...models.checkpoints import load_network
from ...models.examples import arguments
from ...models.fitting.activations import sensitivity
from ...models.networks.factories import resolve_factory
from ...studies.dashboard.keeping import Keeper
from ...studies.database.artifacts import artifact_store, load_baseline, save_baseline
from ...studies.database.attributes import EXHAUSTED
from ...studies.database.findings.groups import groups_of, record_groups
from ...studies.database.optuna_internals import claim, set_user_attrs, was_stopped
from ...studies.database.storage import has_study, open_study
from ...studies.database.trials import HISTORY, KNOWN, Measurement, measurement_of, meets_budget, values_of
from ...studies.definition.dimensions import parse_dimension, plain
from ..events import Listener, Notice, TrialEnded, TrialStarted
from ..space import Recipe, SearchSpace
from ..space.courses import course_of
from ..space.groups import group_records, kept_shares
from ..space.known import REFERENCE, equal_widths, known_recipes
from ..training.arithmetic import Arithmetic
from ..trial.baseline import baseline_ready, make_baseline
from ..trial.problem import Problem
from ..trial.trial import Diverged, run_trial
from .recording import Recorder, keep_result, placed, record_recipe, releasing, repeat_result, same_trial
from .samplers import check_search, make_pruner, make_sampler
from .screening import Screening, including, screen

# A study whose trials all fail would otherwise go on for ever.
FAILURES_IN_A_ROW = 3
# A study's attribute: what screening found, set when the first trials are queued.
PREPARED = "prepared"
# And that a process queues them, which takes it no longer than so many seconds.
QUEUEING = "queueing"
_QUEUEING_TIMEOUT = 15.0


def is_exhausted(study: optuna.Study) -> bool:
    """Whether every combination of the study's grid was tried, and none is queued again."""
    return EXHAUSTED in study.user_attrs and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def trials_left(study: optuna.Study, target: int) -> int:
    """How many more trials than are finished or running anywhere a study takes to have `target`; 0 at least."""
    counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return max(0, target - len(study.get_trials(deepcopy=False, states=counted)))


class Worker:
    """Runs trials of one study in this process.

    Args:
        problem: the study's data and costs.
        storage: its database.
        notify: receives the progress.
        number: of this worker among those of the run; their samplers draw differently.
    """

    def __init__(self, problem: Problem, storage: RDBStorage, notify: Listener, number: int = 0) -> None:
        self.problem, self.storage, self.notify = problem, storage, notify
        self.store = artifact_store(storage.url)
        self.number = number
        check_search(problem.definition, self._space())
        self._failures: list[str] = []
        self._begun: list[int] = []
        self._ended: TrialEnded | None = None

    @cached_property
    def _keeper(self) -> Keeper:
        return Keeper(self.study, course_of)

    @cached_property
    def study(self) -> optuna.Study:
        """The study; created where it is missing."""
        return open_study(
            self.storage,
            self.problem.definition,
            self.problem.task.metric,
            pruner=make_pruner(self.problem.definition),
            told=lambda line: self.notify(Notice(line)),
        )

    def baseline(self) -> nn.Module:
        """The study's baseline; made now if no run has made it, and only then the study.

        Raises:
            StudyError: if the baseline's file is gone, or the baseline diverged.
            NetworkError: if its checkpoint does not fit.
        """
        name = self.problem.definition.study.name
        with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
            path = Path(folder) / f"{name}-baseline.safetensors"
            record = None
            if has_study(self.storage, name):
                record = load_baseline(self.study, self.store, path, lambda line: self.notify(Notice(line)))
            if record is None:
                made = make_baseline(self.problem, path, self.notify)
                save_baseline(self.study, self.storage, self.store, path, made)
                # Another process may have been faster; its baseline is the study's then.
                record = load_baseline(self.study, self.store, path)
                assert record is not None
            else:
                record = {**record, "source": "from an earlier run"}
            self.problem = replace(self.problem, arithmetic=Arithmetic.of(record))
            network = load_network(path, resolve_factory(self.problem.definition.model.factory))
        self.notify(baseline_ready(record, self.problem.task.metric))
        return network

    def prepare(self, baseline: nn.Module) -> None:
        """Screens widths and queues the trials that a study begins with; once for a study, before any worker runs.

        Several processes may do this at once: they share the candidates, and one of them queues.

        Args:
            baseline: the trained network.
        """
        if not groups_of(self.study):
            record_groups(self.study, group_records(self.problem.costs, self._errors_of(baseline)))
        if PREPARED in self.study.user_attrs:
            return
        space = self._space(baseline)
        found = screen(self.problem, space, baseline, self.study, self.storage, self.notify)
        if not claim(self.study, QUEUEING) and self._others_queue():
            return
        recipes = known_recipes(space, self.problem.definition.search.recipes)
        dimensions = found.shares
        if (reference := recipes.get(REFERENCE)) is not None:
            equal = equal_widths(space) if found.starts else {}
            self.study.enqueue_trial({**reference, **equal}, user_attrs={KNOWN: REFERENCE}, skip_if_exists=True)
            dimensions = including(found.shares, equal)
        elif REFERENCE in self.problem.definition.search.recipes:
            self.notify(
                Notice(f"this space has no room for the known recipe {REFERENCE}: no trial is compared with it")
            )
        for values in _first_trials(recipes, found):
            self.study.enqueue_trial(values, skip_if_exists=True)
        shares = {name: plain(dimension) for name, dimension in dimensions.items()}
        self.study.set_user_attr(PREPARED, {"shares": shares, "starts": found.starts})

    def _others_queue(self) -> bool:
        """Waits for the process that queues the first trials; False if it is so late that it must have died."""
        deadline = time.monotonic() + _QUEUEING_TIMEOUT
        while PREPARED not in self.study.user_attrs:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def run(self, target: int, baseline: nn.Module) -> None:
        """Runs trials until `target` are finished or running anywhere.

        Raises:
            Interrupted: if asked to stop; the interrupted trial's parameters are queued again.
            StudyError: if several trials fail in a row.
        """
        shares = self.study.user_attrs.get(PREPARED, {}).get("shares", {})
        space = self._space(baseline, {name: parse_dimension(value) for name, value in shares.items()})
        # A resumed study must not draw its first proposals again.
        entropy = [self.problem.definition.study.seed, self.number, len(self.study.get_trials(deepcopy=False))]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self.study.sampler = self._noting(make_sampler(self.problem.definition, space.dimensions(), seed))
        while not is_exhausted(self.study) and trials_left(self.study, target):
            self._run_next(space, baseline)
            if len(self._failures) >= FAILURES_IN_A_ROW:
                raise StudyError(f"{len(self._failures)} trials failed in a row, the last one: {self._failures[-1]}")

    def _run_next(self, space: SearchSpace, baseline: nn.Module) -> None:
        self._ended = None
        with releasing(self.study) as self._begun:
            self.study.optimize(
                lambda trial: self._objective(trial, space, baseline), n_trials=1, catch=(BranchfoldError,)
            )
        if was_stopped(self.study):  # Optuna's grid asks to stop when it is through, which ends this one call alone
            self.study.set_user_attr(EXHAUSTED, True)
        if self._ended is not None:  # told only now that the database counts the trial
            self.notify(placed(self._ended, self.study, self.problem.definition))
            self._keeper.ended(self._ended.trial, self._ended.seconds)

    def _noting(self, sampler: BaseSampler) -> BaseSampler:
        """The sampler, which notes the number of each trial before it proposes anything: that may take long."""
        begin = sampler.before_trial

        def before_trial(study: optuna.Study, trial: FrozenTrial) -> None:
            self._begun.append(trial.number)
            begin(study, trial)

        sampler.before_trial = before_trial  # type: ignore[method-assign]
        return sampler

    def _space(self, baseline: nn.Module | None = None, shares: Mapping[str, Any] | None = None) -> SearchSpace:
        def errors() -> Mapping[str, Sequence[float]]:
            assert baseline is not None
            return self._errors_of(baseline)

        return SearchSpace(self.problem.definition, self.problem.costs, errors, shares)

    def _errors_of(self, baseline: nn.Module) -> Mapping[str, Sequence[float]]:
        if not self._errors:
            batches = [arguments(inputs) for inputs, _ in self.problem.calibration_batches]
            found = sensitivity(baseline, self.problem.inputs, batches)
            self._errors.update({name: curve.tolist() for name, curve in found.items()})
        return self._errors

    @cached_property
    def _errors(self) -> dict[str, list[float]]:
        return {}

    def _objective(self, trial: optuna.Trial, space: SearchSpace, baseline: nn.Module) -> tuple[float, ...]:
        started = time.monotonic()
        ended = TrialEnded(trial.number, "complete", None, None, None, "", 0.0)
        recorder = Recorder(trial, self.problem.definition, self.notify)
        try:
            recipe = space.propose(trial)
            ended = ended._replace(shape=recipe.shape)
            if (other := same_trial(self.study, recipe)) is not None:
                ended = ended._replace(note=f"same as trial {other.number}")
                values, measured = repeat_result(trial, other, self.problem.definition), measurement_of(other)
            else:
                values, measured = self._run(trial, recipe, baseline, recorder)
        except (optuna.TrialPruned, Diverged) as stop:
            self._failures.clear()
            self._end(trial, recorder, ended._replace(state="pruned", note=ended.note or str(stop)), started)
            raise optuna.TrialPruned(str(stop)) from stop
        except BranchfoldError as error:
            self._failures.append(str(error))
            self._end(trial, recorder, ended._replace(state="fail", note=str(error)), started)
            raise
        self._failures.clear()
        assert measured is not None
        self._ended = ended._replace(
            metric=measured.metric,
            macs_share=measured.macs_share,
            parameters_share=measured.parameters_share,
            seconds=time.monotonic() - started,
            within=meets_budget(measured, self.problem.definition),
        )
        return values

    def _end(self, trial: optuna.Trial, recorder: Recorder, ended: TrialEnded, started: float) -> None:
        """Keeps how a trial ended that did not complete."""
        kept: dict[str, Any] = {HISTORY: recorder.history} if recorder.history else {}
        if ended.note:
            kept["note"] = ended.note
        if kept:
            set_user_attrs(trial, kept)
        self._ended = ended._replace(seconds=time.monotonic() - started)

    def _run(
        self, trial: optuna.Trial, recipe: Recipe, baseline: nn.Module, recorder: Recorder
    ) -> tuple[tuple[float, ...], Measurement]:
        definition = self.problem.definition
        seed = definition.study.seed + trial.number
        record_recipe(trial, recipe, seed, self.problem, **kept_shares(recipe, self.problem.costs))
        share = self.problem.costs.cost(recipe.widths).macs / self.problem.costs.full.macs
        self.notify(TrialStarted(trial.number, recipe.shape, share))
        result = run_trial(recipe, baseline, self.problem, seed=seed, on_report=recorder)
        keep_result(trial, recipe, result, self.problem, self.storage)
        return values_of(result.measurement, definition), result.measurement


def _first_trials(recipes: Mapping[str, Mapping[str, Any]], found: Screening) -> list[dict[str, Any]]:
    """Known recipes, with the best widths if there are any, then the other best widths."""
    best: Mapping[str, Any] = found.starts[0] if found.starts else {}
    first = [{**values, **best} for values in recipes.values()]
    return [*first, *(dict(start) for start in found.starts[1 if first else 0 :])]
