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
from optuna.trial import FrozenTrial
from torch import nn

from ...errors import BranchfoldError, StudyError
from ...models.checkpoints import load_network
from ...models.examples import arguments
from ...models.fitting.activations import sensitivity
from ...models.networks.factories import resolve_factory
from ...studies.dashboard.keeping import Keeper
from ...studies.database.attributes import EXHAUSTED
from ...studies.database.beginnings import beginning
from ...studies.database.findings.groups import groups_of, record_groups
from ...studies.database.optuna_internals import set_user_attrs, was_stopped
from ...studies.database.places.addresses import failure_beneath
from ...studies.database.places.artifacts import load_baseline, save_baseline
from ...studies.database.places.store import artifact_store
from ...studies.database.places.whereabouts import reachable
from ...studies.database.retries import CHECKPOINT, SEED, was_cut_short
from ...studies.database.storage import has_study, open_study
from ...studies.database.trials import HISTORY, Measurement, measurement_of, meets_budget, values_of
from ...studies.definition.dimensions import parse_dimension
from ..events import Listener, Notice, TrialEnded, TrialStarted, TrialTaken
from ..process.signals import stop_if_asked
from ..space import Recipe, SearchSpace
from ..space.courses import alphas_of, course_of
from ..space.groups import group_records, kept_shares
from ..training.arithmetic import Arithmetic
from ..trial.baseline import baseline_ready, make_baseline
from ..trial.faults import NOT_ITS_END, Taken, as_outcomes, check_running
from ..trial.problem import Problem
from ..trial.trial import Diverged, run_trial
from .checkpoints import Checkpoints, checkpoint_name
from .preparing import PREPARED, prepare
from .recording import Recorder, keep_result, placed, record_recipe, releasing, repeat_result, same_trial
from .rungs import Ladder, at_rung
from .samplers import check_search, make_pruner, make_sampler
from .stopping import end_if_stuck, is_over, trials_left
from .teaching import with_taught

# A study whose trials all fail would otherwise go on for ever.
FAILURES_IN_A_ROW = 3
# Of a schedule, as it is told when a trial begins.
_ALPHAS = 16


class Worker:
    """Runs trials of one study in this process.

    Args:
        problem: the study's data and costs.
        storage: its database.
        notify: receives the progress.
        number: of this worker among those of the run; their samplers draw differently.
        study: the study, if it is there and to be joined as it is.
    """

    def __init__(
        self,
        problem: Problem,
        storage: RDBStorage,
        notify: Listener,
        number: int = 0,
        *,
        study: optuna.Study | None = None,
    ) -> None:
        self.problem, self.storage, self.notify, self._joined = problem, storage, notify, study
        self.store = artifact_store(reachable(storage.url))
        self.number = number
        check_search(problem.definition, self._space())
        self._failures: list[str] = []
        self._begun: list[int] = []
        self._ended: TrialEnded | None = None
        self._has_outcome = False
        self.checkpoints = Checkpoints(storage.url, notify)

    @cached_property
    def _keeper(self) -> Keeper:
        return Keeper(self.study, course_of)

    @cached_property
    def _ladder(self) -> Ladder:
        return Ladder(self.study, self.problem.definition)

    @cached_property
    def study(self) -> optuna.Study:
        """The study; created where it is missing."""
        if self._joined is not None:
            self._joined.pruner = make_pruner(self.problem.definition)
            return self._joined
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
                checkpoint = self.checkpoints.of_baseline(self.problem.definition)
                with beginning(self.storage.url, name, self.problem.definition.study.trials):
                    made = make_baseline(self.problem, path, self.notify, checkpoint=checkpoint)
                save_baseline(self.study, self.storage, self.store, path, made)
                checkpoint.remove()
                # Another process may have been faster; its baseline is the study's then.
                record = load_baseline(self.study, self.store, path)
                assert record is not None
            else:
                record = {**record, "source": "from an earlier run"}
            network = load_network(path, resolve_factory(self.problem.definition.model.factory))
        problem = replace(self.problem, arithmetic=Arithmetic.of(record))
        self.problem = with_taught(problem, network, self.study, self.storage, self.notify)
        self.notify(baseline_ready(record, self.problem.task.metric))
        return network

    def prepare(self, baseline: nn.Module) -> None:
        """Does this process's share of what comes before any trial (`preparing.prepare`)."""
        if not groups_of(self.study):
            record_groups(self.study, group_records(self.problem.costs, self._errors_of(baseline)))
        prepare(self.problem, self._space(baseline), baseline, self.study, self.storage, self.notify)

    def run(self, target: int, baseline: nn.Module, *, patience: int | None = None) -> None:
        """Runs trials until `target` are finished or running anywhere, or the study is over for another reason.

        Args:
            target: finished trials that the study is to have.
            baseline: the trained network.
            patience: trials without a better one after which the study ends.

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
        while not is_over(self.study) and trials_left(self.study, target):
            stop_if_asked()
            if end_if_stuck(self.study, self.problem.definition, patience):
                return
            self._ladder.promote()
            self._run_next(space, baseline)
            if len(self._failures) >= FAILURES_IN_A_ROW:
                raise StudyError(f"{len(self._failures)} trials failed in a row, the last one: {self._failures[-1]}")

    def _run_next(self, space: SearchSpace, baseline: nn.Module) -> None:
        self._ended, self._has_outcome = None, False
        try:
            with releasing(self.study) as self._begun:
                self.study.optimize(
                    lambda trial: self._objective(trial, space, baseline), n_trials=1, catch=(BranchfoldError,)
                )
        except Exception as error:
            if self._was_taken():
                self.notify(Notice(f"trial {self._begun[0]} goes on elsewhere: this process was silent for too long"))
                return
            if (failed := failure_beneath(error, self.storage.url)) is not None:
                raise failed from error
            raise
        if was_stopped(self.study):  # Optuna's grid asks to stop when it is through, which ends this one call alone
            self.study.set_user_attr(EXHAUSTED, True)
        if self._ended is not None:  # told only now that the database counts the trial
            self.notify(placed(self._ended, self.study, self.problem.definition))
            self._keeper.ended(self._ended.trial, self._ended.seconds)

    def _was_taken(self) -> bool:
        """Whether the last trial was run to an outcome that the database did not take: others had ended it."""
        return self._has_outcome and self._begun != [] and was_cut_short(self.study, self._begun[0])

    def _noting(self, sampler: BaseSampler) -> BaseSampler:
        """The sampler, which notes the number of each trial before it proposes anything: that may take long."""
        begin = sampler.before_trial

        def before_trial(study: optuna.Study, trial: FrozenTrial) -> None:
            self._begun.append(trial.number)
            self.notify(TrialTaken(trial.number))
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
        rung = self._ladder.begin(trial)
        problem = at_rung(self.problem, rung)
        recorder = Recorder(trial, problem.definition, self.notify)
        try:
            with as_outcomes():
                recipe = space.propose(trial)
                ended = ended._replace(shape=recipe.shape)
                if (other := same_trial(self.study, recipe, rung)) is not None:
                    ended = ended._replace(note=f"same as trial {other.number}")
                    values, measured = repeat_result(trial, other, self.problem.definition), measurement_of(other)
                else:
                    values, measured = self._run(trial, recipe, baseline, problem, recorder)
        except Taken:
            self._has_outcome = True
            raise
        except (optuna.TrialPruned, Diverged) as stop:
            self._failures.clear()
            self._has_outcome = True
            self._end(trial, recorder, ended._replace(state="pruned", note=ended.note or str(stop)), started)
            raise optuna.TrialPruned(str(stop)) from stop
        except BranchfoldError as error:
            self._has_outcome = True
            self._failures.append(str(error))
            self._end(trial, recorder, ended._replace(state="fail", note=str(error)), started)
            raise
        self._failures.clear()
        self._has_outcome = True
        assert measured is not None
        self._ended = ended._replace(
            metric=measured.metric,
            macs_share=measured.macs_share,
            parameters_share=measured.parameters_share,
            seconds=time.monotonic() - started,
            within=meets_budget(measured, self.problem.definition),
        )
        if not rung.is_whole:  # to Optuna it is one that was stopped early, so that it is nowhere the best
            self._ended = self._ended._replace(state="pruned", note=rung.text)
            raise optuna.TrialPruned(rung.text)
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
        self, trial: optuna.Trial, recipe: Recipe, baseline: nn.Module, problem: Problem, recorder: Recorder
    ) -> tuple[tuple[float, ...], Measurement]:
        definition = problem.definition
        seed = int(trial.user_attrs.get(SEED, definition.study.seed + trial.number))
        name, shares = checkpoint_name(trial), kept_shares(recipe, problem.costs)
        record_recipe(trial, recipe, seed, problem, **{CHECKPOINT: name, **shares})
        checkpoint = self.checkpoints.of_trial(name, recipe, seed, lambda: check_running(trial))
        share = problem.costs.cost(recipe.widths).macs / problem.costs.full.macs
        self.notify(TrialStarted(trial.number, recipe.shape, share, alphas_of(recipe, _ALPHAS)))
        with checkpoint.kept_until_its_end(*NOT_ITS_END):
            result = run_trial(
                recipe,
                baseline,
                problem,
                seed=seed,
                on_report=recorder,
                checkpoint=checkpoint,
                on_resume=recorder.resume,
            )
            check_running(trial)
            keep_result(trial, recipe, result, problem, self.storage)
        return values_of(result.measurement, definition), result.measurement
