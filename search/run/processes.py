"""A run of a study: one worker here or several in their own processes, stopped together, resumed later."""

import multiprocessing
import os
import queue
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from ...errors import BranchfoldError, StudyError
from ...studies.database.storage import GRACE_PERIOD, open_storage, open_study
from ...studies.database.trials import end_abandoned, finished_trials
from ...studies.definition.reading import Definition, parse_definition
from ..events import BaselineReady, Event, Listener, Notice
from ..space import SearchSpace, check_budgeted
from ..trial.baseline import from_checkpoint
from ..trial.task import Task
from .worker import Interrupted, Worker, is_exhausted

_POLL = 2.0  # seconds between looks at what other processes do
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_study(definition: Definition, url: str, *, workers: int, tell: Listener) -> optuna.Study:
    """Creates or resumes a study and runs it until it has its number of trials.

    Args:
        definition: what to run.
        url: SQLAlchemy URL of the database; created where it is missing.
        workers: processes that run trials; each has its share of the cores.
        tell: receives the progress of all of them.

    Raises:
        BranchfoldError: for whatever the user can mend.
        Interrupted: if asked to stop; nothing that was finished is lost.
    """
    with quiet_optuna(), stopping_on_signals():
        task = None
        if not _has_study(url, definition.study.name):
            # A mistake that only the data, the network or a checkpoint shows must leave no study or database behind.
            task = Task.of(definition)
            check_budgeted(SearchSpace(definition, task.costs, errors=dict))
            if definition.baseline.checkpoint is not None:
                from_checkpoint(definition, definition.baseline.checkpoint)
        storage = open_storage(url, create=True)
        study = open_study(storage, definition)
        target = definition.study.trials
        if finished := len(finished_trials(study)):
            tell(Notice(f"study {definition.study.name} has {_trials(finished)} finished of {target}"))
        if finished >= target:
            return study
        task = task or Task.of(definition)
        first = Worker(task, storage, tell)
        baseline = first.baseline()
        first.prepare(baseline)
        while len(finished_trials(study)) < target and not is_exhausted(study):
            if workers == 1:
                first.run(target, baseline)
            else:
                _run_processes(definition, url, workers, target, tell)
            if not _others_end(study, target, tell):
                break
        if (finished := len(finished_trials(study))) < target and is_exhausted(study):
            tell(Notice(f"the grid has no more than {_trials(finished)}"))
    return study


def _has_study(url: str, name: str) -> bool:
    try:
        return name in optuna.get_all_study_names(open_storage(url, create=False))
    except StudyError:  # there is no such database, or it cannot be opened, which the caller is told when it is to be
        return False


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into Interrupted; further ones are ignored while the run winds up."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in _STOPPING:
            signal.signal(each, _ignore)
        raise Interrupted

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    # Not SIG_IGN: Python prints an error where a signal came before the change and is handled after it.
    return


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keeps Optuna's own lines off the terminal: progress tells the same."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


def _others_end(study: optuna.Study, target: int, tell: Listener) -> bool:
    """Waits for trials that run elsewhere; False if they live longer than a dead process's would."""
    deadline = time.monotonic() + GRACE_PERIOD + 30
    told = False
    while len(finished_trials(study)) < target:
        running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        if len(finished_trials(study)) + running < target:
            return True
        if time.monotonic() > deadline:
            tell(Notice(f"{_trials(running)} still running in other processes, which will finish the study"))
            return False
        if not told:
            told = True
            tell(
                Notice(
                    f"waiting for {_trials(running)} of other processes, dead ones too (up to {GRACE_PERIOD + 30} s)"
                )
            )
        end_abandoned(study)
        time.sleep(_POLL)
    return True


def _run_processes(definition: Definition, url: str, workers: int, target: int, tell: Listener) -> None:
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    arguments = (definition.to_dict(), url, target, threads, events)
    processes = [context.Process(target=_work, args=(number, *arguments)) for number in range(workers)]
    try:
        # Inherited by the workers: the terminal's Ctrl-C waits until they can wind up; they are ended from here.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            for process in processes:
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        _listen(processes, events, tell)
    finally:
        for process in processes:
            if process.pid is not None and process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()


def _listen(processes: Sequence[BaseProcess], events: Any, tell: Listener) -> None:
    while True:
        alive = any(process.is_alive() for process in processes)
        try:
            event: Event | BranchfoldError = events.get(timeout=0.2)
        except queue.Empty:
            if not alive:
                break
            continue
        if isinstance(event, BranchfoldError):
            raise event
        tell(event)
    died = [process for process in processes if process.exitcode]
    if died:
        raise StudyError(
            f"{len(died)} of {len(processes)} workers died (exit status {died[0].exitcode}); "
            f"finished trials are kept, run the same command again to go on"
        )


def _work(number: int, tables: dict[str, Any], url: str, target: int, threads: int, events: Any) -> None:
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def tell(event: Event) -> None:
        if parent is not None and not parent.is_alive():
            raise Interrupted
        events.put(event)

    try:
        with quiet_optuna(), stopping_on_signals():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
            definition = parse_definition(tables)
            worker = Worker(Task.of(definition), open_storage(url, create=False), _quiet_baseline(tell), number)
            worker.run(target, worker.baseline())
    except Interrupted:
        pass
    except BranchfoldError as error:
        events.put(type(error)(str(error)))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _quiet_baseline(tell: Listener) -> Listener:
    """The parent process has told of the baseline already."""
    return lambda event: None if isinstance(event, BaselineReady) else tell(event)
