"""Running a study in one process: its baseline once, then trials until there are enough."""

import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from torch import nn

from ..errors import BranchfoldError, StudyError
from ..models.checkpoints import load_network
from ..models.factories import resolve_factory
from ..studies.artifacts import artifact_store, attach_network, load_baseline, save_baseline
from ..studies.database import open_study
from ..studies.definition import Definition
from ..studies.trials import SHAPE, finished_trials, record_measurement, release_interrupted
from .baseline import make_baseline
from .events import BaselineReady, Listener, TrialEnded, TrialStarted
from .space import Proposal, propose
from .task import Task
from .trial import TrialResult, run_trial, save_result

# A study whose trials all fail would otherwise go on for ever.
FAILURES_IN_A_ROW = 3
# Finished trials before their median says something about the next one.
TRIALS_BEFORE_PRUNING = 5


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
        definition = task.definition
        self.study = open_study(storage, definition)
        # A resumed study must not draw its first proposals again.
        entropy = [definition.study.seed, number, len(self.study.get_trials(deepcopy=False))]
        self.study.sampler = make_sampler(definition, int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self.study.pruner = make_pruner(definition)
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

    def run(self, target: int, baseline: nn.Module) -> None:
        """Runs trials until `target` are finished or running anywhere.

        Raises:
            Interrupted: if asked to stop; the interrupted trial's parameters are queued again.
            StudyError: if several trials fail in a row.
        """
        while self._wanted(target):
            self._current = None
            try:
                self.study.optimize(
                    lambda trial: self._objective(trial, baseline), n_trials=1, catch=(BranchfoldError,)
                )
            except BaseException:
                if self._current is not None:
                    release_interrupted(self.study, self._current)
                raise
            if len(self._failures) >= FAILURES_IN_A_ROW:
                raise StudyError(f"{len(self._failures)} trials failed in a row, the last one: {self._failures[-1]}")

    def _wanted(self, target: int) -> bool:
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return len(finished_trials(self.study)) + len(running) < target

    def _objective(self, trial: optuna.Trial, baseline: nn.Module) -> tuple[float, ...]:
        self._current = trial.number
        started = time.monotonic()
        ended = TrialEnded(trial.number, "complete", None, None, None, "", 0.0)
        try:
            proposal = propose(trial, self.task.definition, self.task.costs)
            ended = ended._replace(shape=proposal.shape)
            seed = self.task.definition.study.seed + trial.number
            for key, value in (("proposal", proposal.to_dict()), (SHAPE, proposal.shape), ("seed", seed)):
                trial.set_user_attr(key, value)
            share = self.task.costs.cost(proposal.widths).macs / self.task.costs.full.macs
            self.tell(TrialStarted(trial.number, proposal.shape, share))
            result = run_trial(trial, proposal, baseline, self.task, self.tell, seed=seed)
            self._keep(trial, proposal, result)
        except optuna.TrialPruned as stop:
            self._failures.clear()
            self.tell(ended._replace(state="pruned", seconds=time.monotonic() - started, note=str(stop)))
            raise
        except BranchfoldError as error:
            self._failures.append(str(error))
            trial.set_user_attr("note", str(error))
            self.tell(ended._replace(state="fail", seconds=time.monotonic() - started, note=str(error)))
            raise
        self._failures.clear()
        measured = result.measurement
        self.tell(
            ended._replace(
                accuracy=measured.accuracy,
                macs_share=measured.macs_share,
                parameters_share=measured.parameters_share,
                seconds=time.monotonic() - started,
            )
        )
        return tuple(float(getattr(measured, name)) for name in self.task.definition.study.objectives)

    def _keep(self, trial: optuna.Trial, proposal: Proposal, result: TrialResult) -> None:
        with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
            path = save_result(result, proposal, self.task, trial.number, Path(folder))
            attach_network(trial, self.storage, self.store, path)
        trial.set_user_attr("folding_error", result.folding_error)
        record_measurement(trial, result.measurement)


def make_sampler(definition: Definition, seed: int) -> BaseSampler:
    """Optuna's sampler of the definition's name."""
    if definition.search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(
        seed=seed,
        n_startup_trials=definition.search.startup_trials,
        constant_liar=True,
    )


def make_pruner(definition: Definition) -> BasePruner:
    """Optuna's pruner of the definition's name."""
    epochs = definition.trial.epochs
    if definition.search.pruner == "median":
        return MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=max(1, epochs // 3))
    if definition.search.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs)
    return NopPruner()
