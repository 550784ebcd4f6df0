"""Several workers of a run, each in its own process: started, listened to, replaced when one dies, ended together."""

import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

import optuna
import torch

from ...errors import BranchfoldError, StudyError
from ...studies.database.retries import release_interrupted, release_killed
from ...studies.database.storage import load_study, open_storage
from ...studies.definition.reading import Definition, parse_definition
from ..events import (
    BaselineReady,
    CrewStarted,
    Event,
    Listener,
    Notice,
    Screened,
    ScreeningStarted,
    TrialEnded,
    TrialTaken,
    WorkerTook,
)
from ..process.machine import kills_for_memory
from ..process.quiet import quiet_optuna
from ..process.signals import Interrupted, last_words, stopping_on_signals
from ..run.stopping import is_over, trials_left
from ..run.worker import Worker
from ..trial.problem import Problem
from .lifeline import Job, Process
from .sharing import Share

# Workers that die one after another before any has begun a trial are not replaced for ever.
_IDLE_DEATHS = 3


def run_crew(
    study: optuna.Study,
    definition: Definition,
    url: str,
    *,
    shares: list[Share],
    target: int,
    patience: int | None,
    notify: Listener,
) -> None:
    """Screens widths and runs trials in several processes until `target` are finished or running anywhere.

    Args:
        study: which.
        definition: of the study.
        url: of its database.
        shares: what each worker has.
        target: finished trials that the study is to have.
        patience: trials without a better one after which the study ends.
        notify: receives the progress of all of them.

    Raises:
        BranchfoldError: if a worker meets an error that the user can mend, or workers die before they do anything.
        Interrupted: if asked to stop; the workers have ended then.
    """
    jobs = [Job(i, definition.to_dict(), url, target, share.threads, patience) for i, share in enumerate(shares)]
    crew = _Crew(study, jobs, shares, notify)
    notify(CrewStarted(len(shares)))
    try:
        with last_words(crew.kill):
            crew.start()
            crew.listen()
    finally:
        crew.end()


class _Crew:
    """The processes of a run.

    Args:
        study: whose trials they run.
        jobs: one a worker.
        shares: likewise.
        notify: receives the progress of all of them.
    """

    def __init__(self, study: optuna.Study, jobs: list[Job], shares: list[Share], notify: Listener) -> None:
        self.study, self.jobs, self.shares, self.notify = study, jobs, shares, notify
        self.processes: dict[int, Process] = {}
        self.running: dict[int, int] = {}  # trials by the workers that run them
        self._kills, self._idle_deaths, self._screened = kills_for_memory(), 0, -1

    def start(self) -> None:
        """Starts all workers."""
        for job in self.jobs:
            self._start(job.number)

    def _start(self, number: int) -> None:
        self.processes[number] = Process(self.jobs[number], self.shares[number].gpu)

    def listen(self) -> None:
        """Tells what the workers tell until all have ended.

        Raises:
            BranchfoldError: a worker's; or that workers died.
        """
        while self.processes:
            talking: dict[Any, int] = {process.events: number for number, process in self.processes.items()}
            for events in wait(list(talking)):
                number = talking[events]
                try:
                    event: Event | BranchfoldError = self.processes[number].events.recv()
                except (EOFError, OSError):  # the latter where it died in the midst of a word
                    self._ended(number)
                    continue
                if isinstance(event, BranchfoldError):
                    raise event
                self._heard(number, event)

    def end(self) -> None:
        """Asks all to stop and waits until they have."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()

    def kill(self) -> None:
        """Ends all at once, and releases the trials that they were running."""
        for process in list(self.processes.values()):
            process.kill()
        for trial in list(self.running.values()):
            release_interrupted(self.study, trial)

    def _heard(self, number: int, event: Event) -> None:
        match event:
            case TrialTaken():
                self.running[number], self._idle_deaths = event.trial, 0
                event = WorkerTook(number, event.trial)
            case TrialEnded():
                self.running.pop(number, None)
            case ScreeningStarted():
                if self._screened >= 0:
                    return
                self._screened = event.judged
            case Screened():  # each worker counts the candidates of all
                if event.candidate <= self._screened:
                    return
                self._screened = event.candidate
        self.notify(event)

    def _ended(self, number: int) -> None:
        """Lets a worker go; one that was killed is replaced, and its trial goes on in another.

        Raises:
            StudyError: if it ended by an error of its own, or several were killed before they began a trial.
        """
        status = self.processes.pop(number).wait()
        trial = self.running.pop(number, None)
        if status == 0:
            return
        if status > 0:
            raise StudyError(
                f"a worker died (exit status {status}); finished trials are kept, run the same command again to go on"
            )
        reason = self._reason(-status)
        if trial is None:
            self._idle_deaths += 1
        else:
            goes_on = release_killed(self.study, trial, reason)
            told = "goes on from its checkpoint" if goes_on else "is not tried again"
            self.notify(Notice(f"worker {number} died: {reason}; trial {trial} {told}"))
        if self._idle_deaths >= _IDLE_DEATHS:
            raise StudyError(
                f"{_IDLE_DEATHS} workers died before they began a trial: {reason}; finished trials are kept, run the "
                f"same command again to go on"
            )
        if trials_left(self.study, self.jobs[number].target) and not is_over(self.study):
            self._start(number)

    def _reason(self, number: int) -> str:
        before, self._kills = self._kills, kills_for_memory()
        if number == signal.SIGKILL and self._kills > before:
            return "the kernel killed it, for the memory had run out"
        return f"killed by {signal.Signals(number).name}"


def work(job: Job, send: Callable[[Event | BranchfoldError], None]) -> None:
    """What a worker does in its process.

    Args:
        job: its number, its study.
        send: tells the parent an event or the error that it ended with.
    """
    torch.set_num_threads(job.threads)
    try:
        with quiet_optuna(), stopping_on_signals():
            definition = parse_definition(job.tables)
            storage = open_storage(job.url, create=False)
            study = load_study(storage, definition.study.name)
            worker = Worker(Problem.of(definition), storage, _later(send), job.number, study=study)
            baseline = worker.baseline()
            worker.prepare(baseline)
            worker.run(job.target, baseline, patience=job.patience)
    except Interrupted:
        pass
    except BranchfoldError as error:
        with suppress(OSError):  # the parent is ending its workers already
            send(type(error)(str(error)))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _later(notify: Listener) -> Listener:
    """What the parent process has not told already: it has told of the baseline."""
    return lambda event: None if isinstance(event, BaselineReady) else notify(event)
