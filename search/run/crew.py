"""Several workers of a run, each in its own process: started, listened to, ended together."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait

import optuna
import torch

from ...errors import BranchfoldError, StudyError
from ...studies.database.retries import release_interrupted
from ...studies.database.storage import open_storage
from ...studies.definition.reading import Definition, parse_definition
from ..events import BaselineReady, Event, Listener, TrialEnded, TrialStarted
from ..process.quiet import quiet_optuna
from ..process.signals import Interrupted, last_words, stopping_on_signals
from ..trial.problem import Problem
from .lifeline import Job, Process
from .worker import Worker


def run_crew(
    study: optuna.Study, definition: Definition, url: str, *, workers: int, target: int, threads: int, notify: Listener
) -> None:
    """Runs trials in several processes until `target` are finished or running anywhere.

    Args:
        study: which.
        definition: of the study.
        url: of its database.
        workers: how many processes.
        target: finished trials that the study is to have.
        threads: of each worker.
        notify: receives the progress of all of them.

    Raises:
        BranchfoldError: if a worker meets an error that the user can mend, or dies.
        Interrupted: if asked to stop; the workers have ended then.
    """
    crew = _Crew(study)
    try:
        with last_words(crew.kill):
            for number in range(workers):
                crew.processes.append(Process(Job(number, definition.to_dict(), url, target, threads)))
            crew.listen(notify)
    finally:
        crew.end()


class _Crew:
    """The processes of a run.

    Args:
        study: whose trials they run.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.processes: list[Process] = []
        self.running: dict[int, int] = {}  # trials by the workers that run them

    def listen(self, notify: Listener) -> None:
        """Tells what the workers tell until all have ended.

        Raises:
            BranchfoldError: a worker's; or that workers died.
        """
        talking = {process.events: number for number, process in enumerate(self.processes)}
        while talking:
            for events in wait(list(talking)):
                number = talking[events]  # type: ignore[index]
                try:
                    event: Event | BranchfoldError = self.processes[number].events.recv()
                except (EOFError, OSError):  # the latter where it died in the midst of a word
                    del talking[self.processes[number].events]
                    continue
                if isinstance(event, BranchfoldError):
                    raise event
                self._note(number, event)
                notify(event)
        statuses = [status for process in self.processes if (status := process.wait())]
        if statuses:
            raise StudyError(
                f"{len(statuses)} of {len(self.processes)} workers died (exit status {statuses[0]}); "
                f"finished trials are kept, run the same command again to go on"
            )

    def end(self) -> None:
        """Asks all to stop and waits until they have."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()

    def kill(self) -> None:
        """Ends all at once, and releases the trials that they were running."""
        for process in self.processes:
            process.kill()
        for trial in list(self.running.values()):
            release_interrupted(self.study, trial)

    def _note(self, number: int, event: Event) -> None:
        if isinstance(event, TrialStarted):
            self.running[number] = event.trial
        elif isinstance(event, TrialEnded):
            self.running.pop(number, None)


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
            worker = Worker(Problem.of(definition), open_storage(job.url, create=False), _later(send), job.number)
            worker.run(job.target, worker.baseline())
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
