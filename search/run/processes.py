"""A run of a study: one worker here or several in their own processes, stopped together, resumed later."""

import time

import optuna
from optuna.trial import TrialState

from ...errors import StudyError
from ...studies.database.artifacts import check_artifact_folder
from ...studies.database.storage import GRACE_PERIOD, has_study, open_storage, open_study
from ...studies.database.trials import end_abandoned, finished_trials, metric_of
from ...studies.definition.reading import Definition
from ..events import Listener, Notice, StudyMetric
from ..process.machine import cores
from ..process.quiet import quiet_optuna
from ..process.signals import stopping_on_signals
from ..space import SearchSpace, check_budgeted
from ..training.device import device_line
from ..trial.baseline import first_network
from ..trial.problem import Problem
from .crew import run_crew
from .finalists import train_finalists
from .memory import check_memory
from .samplers import check_search
from .worker import Worker, is_exhausted, trials_left

_POLL = 2.0  # seconds between looks at what other processes do


def run_study(definition: Definition, url: str, *, workers: int, notify: Listener) -> optuna.Study:
    """Creates or resumes a study and runs it until it has its number of trials.

    Args:
        definition: what to run.
        url: SQLAlchemy URL of the database; created where it is missing.
        workers: processes that run trials, at most; each has its share of the cores.
        notify: receives the progress of all of them.

    Raises:
        BranchfoldError: for whatever the user can mend.
        Interrupted: if asked to stop; nothing that was finished is lost.
    """
    with quiet_optuna(), stopping_on_signals():
        target = definition.study.trials
        if _has_study(url, definition.study.name):
            storage = open_storage(url, create=True)
            study = open_study(storage, definition)
            if finished := len(finished_trials(study)):
                notify(Notice(f"study {definition.study.name} has {_trials(finished)} finished of {target}"))
            if finished >= target:
                notify(StudyMetric(metric_of(study)))
                train_finalists(study, storage, definition, notify)
                return study
            problem, left = Problem.of(definition, notify), max(1, trials_left(study, target))
            workers = _bearable(workers, left, problem, notify)
        else:
            problem = _checked(definition, url, notify)
            workers = _bearable(workers, target, problem, notify)
            storage = open_storage(url, create=True)
        notify(StudyMetric(problem.task.metric))
        notify(Notice(device_line(workers, None if workers == 1 else _threads(workers), definition.trial.device)))
        first = Worker(problem, storage, notify)
        baseline = first.baseline()
        study = first.study
        first.prepare(baseline)
        while len(finished_trials(study)) < target and not is_exhausted(study):
            if (count := min(workers, trials_left(study, target))) > 1:
                run_crew(study, definition, url, workers=count, target=target, threads=_threads(workers), notify=notify)
            else:
                first.run(target, baseline)
            if not _others_end(study, target, notify):
                break
        if (finished := len(finished_trials(study))) < target and is_exhausted(study):
            notify(Notice(f"the grid has no more than {_trials(finished)}"))
        if finished >= target or is_exhausted(study):
            train_finalists(study, storage, definition, notify, problem)
    return study


def _bearable(workers: int, left: int, problem: Problem, notify: Listener) -> int:
    """How many workers a run has: no more than trials are left.

    Raises:
        StudyError: if the memory does not bear them.
    """
    if workers > left:
        notify(Notice(f"--workers {left} instead of {workers}: no more trials are left"))
        workers = left
    if workers > 1:
        check_memory(problem, workers)
    if workers > cores():
        notify(Notice(f"{workers} workers share {cores()} cores: more than one a core slows all of them down"))
    return workers


def _threads(workers: int) -> int:
    return max(1, cores() // workers)


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
    check_artifact_folder(url)
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
    while len(finished_trials(study)) < target:
        running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if len(finished_trials(study)) + running < target:
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
