"""A run of a study: one worker here or several in their own processes, stopped together, resumed later."""

import time
import uuid
from contextlib import suppress

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from torch import nn

from ...errors import StudyError
from ...studies.database.attributes import ENDED
from ...studies.database.companions import is_companion
from ...studies.database.places.artifacts import BASELINE
from ...studies.database.places.store import check_artifact_folder
from ...studies.database.places.whereabouts import located
from ...studies.database.rungs import finished_count
from ...studies.database.storage import (
    GRACE_PERIOD,
    has_study,
    load_study,
    open_storage,
    open_study,
    stored_definition,
)
from ...studies.database.trials import end_abandoned, metric_of
from ...studies.definition.deciding import as_begun
from ...studies.definition.reading import Definition
from ..cluster.cluster import Cluster
from ..crew.crew import run_crew, started_here
from ..crew.memory import check_memory, fitting_workers
from ..crew.sharing import Share, automatic, shares
from ..events import Listener, Notice, StudyMetric
from ..process.machine import cores
from ..process.quiet import quiet_optuna
from ..process.signals import TimeUp, stopping_after, stopping_on_signals
from ..space import SearchSpace, check_budgeted
from ..training.device import device_line
from ..trial.baseline import first_network
from ..trial.distilling import decided_line
from ..trial.problem import Problem
from .repeating.finalists import train_finalists
from .samplers import check_search
from .stopping import is_over, trials_left
from .worker import Worker

_POLL = 2.0  # seconds between looks at what other processes do


def run_study(
    definition: Definition,
    url: str,
    *,
    workers: int | None,
    notify: Listener,
    timeout: float | None = None,
    patience: int | None = None,
    cluster: Cluster | None = None,
) -> optuna.Study:
    """Creates or resumes a study and runs it until it has its number of trials.

    Args:
        definition: what to run.
        url: SQLAlchemy URL of the database; created where it is missing.
        workers: processes that run trials, at most; each has its share of the cores, or a GPU. None for as many as the
            machine has use for.
        notify: receives the progress of all of them.
        timeout: seconds after which the trials that run are stopped, to go on in the next run.
        patience: finished trials without a better one after which the study ends.
        cluster: that the workers run on, instead of this machine; the baseline and the finalists are trained here.

    Raises:
        BranchfoldError: for whatever the user can mend.
        Interrupted: if asked to stop, or if the time is up before the study is there; nothing that was finished is
            lost.
    """
    with quiet_optuna(), stopping_on_signals(), stopping_after(timeout):
        target = definition.study.trials
        if _has_study(url, definition.study.name):
            storage = open_storage(url, create=True)
            study = open_study(storage, definition)
            definition = as_begun(definition, stored_definition(study))
            end_abandoned(study)  # also of a study that has its trials: nobody else would end them
            if finished := finished_count(study):
                notify(Notice(f"study {definition.study.name} has {_trials(finished)} finished of {target}"))
            if finished >= target:
                notify(StudyMetric(metric_of(study)))
                train_finalists(study, storage, definition, notify)
                return study
            study.set_user_attr(ENDED, "")
            problem, left = Problem.of(definition, notify), max(1, trials_left(study, target))
            workers = _bearable(workers, left, problem, notify, cluster)
        else:
            problem = _checked(definition, url, notify)
            workers = _bearable(workers, target, problem, notify, cluster)
            storage = open_storage(url, create=True)
        notify(StudyMetric(problem.task.metric))
        each = shares(workers, definition.trial.device) if cluster is None else cluster.shares(workers)
        notify(Notice(device_line(workers, None if workers == 1 else each[0].threads, definition.trial.device)))
        if (line := decided_line(definition, problem.definition)) is not None:
            notify(Notice(line))
        first = Worker(problem, storage, notify)
        first.checkpoints.sweep(storage)
        baseline = first.baseline()
        study = first.study
        try:
            _run_trials(first, baseline, each, patience, cluster)
        except TimeUp:
            finished = finished_count(study)
            done = f"{finished} of {_trials(target)} are finished"
            notify(Notice(f"the time is up: {done}; what ran here goes on in the next run"))
            return study
        _finish(study, storage, problem, notify)
    return study


def _finish(study: optuna.Study, storage: RDBStorage, problem: Problem, notify: Listener) -> None:
    """Trains the finalists of a study that has its trials, or that ended before it had; of one that goes on nothing."""
    end_abandoned(study)
    short = finished_count(study) < problem.definition.study.trials
    if short and not is_over(study):
        return
    if short:
        notify(Notice(_why_over(study)))
    train_finalists(study, storage, problem.definition, notify, problem)


def _run_trials(
    first: Worker, baseline: nn.Module, each: list[Share], patience: int | None, cluster: Cluster | None
) -> None:
    """Screens and runs trials, in this process or in a crew, until there are enough or the study is over."""
    study, definition, notify = first.study, first.problem.definition, first.notify
    target = definition.study.trials
    while finished_count(study) < target and not is_over(study):
        if (count := min(len(each), trials_left(study, target))) > 1 or cluster is not None:
            run_crew(
                study,
                definition,
                first.storage.url,
                shares=each[: max(1, count)],
                target=target,
                patience=patience,
                notify=notify,
                start=started_here if cluster is None else cluster.begin,
            )
        else:
            first.prepare(baseline)
            first.run(target, baseline, patience=patience)
        if not is_over(study) and not _others_end(study, target, notify):
            return


def join_study(
    name: str, url: str, *, data_root: str | None, device: str | None, notify: Listener, timeout: float | None = None
) -> optuna.Study:
    """Runs trials of a study that another process began, as one more worker, until it has its number of trials.

    Args:
        name: of the study.
        url: of its database.
        data_root: folder of the data here, if it is another than the definition's.
        device: where to train here, if not as the definition says.
        notify: receives the progress.
        timeout: seconds after which the trial that runs is stopped, to go on elsewhere.

    Raises:
        StudyError: if there is no such study, or no baseline yet.
        BranchfoldError: for whatever else the user can mend.
        Interrupted: if asked to stop; the trial that ran goes on elsewhere then.
    """
    with quiet_optuna(), stopping_on_signals(), stopping_after(timeout):
        storage = open_storage(url, create=False)
        study = load_study(storage, name)
        if is_companion(study):
            raise StudyError(f"study {name!r} belongs to another one; join that")
        definition = stored_definition(study)
        if BASELINE not in study.user_attrs:
            raise StudyError(f"study {name!r} has no baseline yet: `branchfold run {name}` makes it, then join")
        definition = definition if device is None else definition.with_device(device)
        definition = definition if data_root is None else definition.with_data_root(data_root)
        target = definition.study.trials
        if trials_left(study, target):
            problem = Problem.of(definition, notify)
            notify(StudyMetric(problem.task.metric))
            notify(Notice(device_line(name=definition.trial.device)))
            # Its sampler is to draw unlike those of all workers that there are or were.
            worker = Worker(problem, storage, notify, uuid.uuid4().int % 2**32, study=study)
            baseline = worker.baseline()
            worker.prepare(baseline)
            with suppress(TimeUp):
                worker.run(target, baseline)
    return study


def _why_over(study: optuna.Study) -> str:
    finished = _trials(finished_count(study))
    if reason := study.user_attrs.get(ENDED):
        return f"{reason}: the study ends with {finished}"
    return f"the grid has no more than {finished}"


def _bearable(
    workers: int | None, left: int, problem: Problem, notify: Listener, cluster: Cluster | None = None
) -> int:
    """How many workers a run has: no more than trials are left.

    Raises:
        StudyError: if the memory does not bear as many as were asked for.
    """
    if cluster is not None:
        return min(left, cluster.room() if workers is None else min(workers, cluster.room()))
    if workers is None:
        return fitting_workers(problem, min(left, automatic(problem.definition.trial.device)))
    if workers > left:
        notify(Notice(f"--workers {left} instead of {workers}: no more trials are left"))
        workers = left
    if workers > 1:
        check_memory(problem, workers)
    if workers > cores():
        notify(Notice(f"{workers} workers share {cores()} cores: more than one a core slows all of them down"))
    return workers


def _checked(definition: Definition, url: str, notify: Listener) -> Problem:
    """The problem of a study that is yet to be made: no mistake that can be found by now leaves a study or database.

    Raises:
        BranchfoldError: if the data, the network, a checkpoint, the search or the place for the networks will not do.
    """
    problem = Problem.of(definition, notify)
    space = SearchSpace(definition, problem.costs, errors=dict)
    check_search(definition, space)
    check_budgeted(space)
    if definition.baseline.checkpoint is not None or definition.baseline.weights is not None:
        first_network(definition)
    check_artifact_folder(located(url))
    return problem


def _has_study(url: str, name: str) -> bool:
    try:
        return has_study(open_storage(url, create=False), name)
    except StudyError:  # there is no such database, or it cannot be opened, which the caller is told when it is to be
        return False


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


def _others_end(study: optuna.Study, target: int, notify: Listener) -> bool:
    """Waits for trials that run elsewhere; False if they live longer than a dead process's would."""
    deadline = time.monotonic() + GRACE_PERIOD + 30
    told = False
    while finished_count(study) < target:
        running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if trials_left(study, target):
            return True
        if time.monotonic() > deadline:
            notify(Notice(f"{_trials(running)} still running in other processes, which will finish the study"))
            return False
        if not told:
            told = True
            notify(
                Notice(
                    f"waiting for {_trials(running)} of other processes, dead ones too (up to {GRACE_PERIOD + 30} s)"
                )
            )
        end_abandoned(study)
        time.sleep(_POLL)
    return True
