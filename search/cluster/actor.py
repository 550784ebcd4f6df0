"""A worker on a node of the cluster: an actor that starts the process of a worker and passes on what it tells.

The process is a crew's, so it trains as any other does, and it ends when its actor does, whatever Ray does to that.
What goes between actor and run is pickled by Ray, on the cluster's own network.
"""

import os
import platform
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from typing import IO, NamedTuple

from ... import __version__
from ...errors import BranchfoldError
from ...studies.database.places.addresses import parse_url, without_secrets
from ..crew.lifeline import Job, Process
from ..events import Event

# Seconds in which the actor gathers what its process tells, before it answers and listens to the run.
_GATHERING = 0.5
# Bytes of a process's last words that are passed on; all of them are in the log that Ray keeps of the actor.
_LAST_WORDS = 4000


class Node(NamedTuple):
    """Where a worker runs.

    Attributes:
        host: its machine's name.
        versions: of Python and branchfold there.
    """

    host: str
    versions: str


class Told(NamedTuple):
    """What a worker told since it was asked last.

    Attributes:
        events: or the error that it ended with.
        status: its process's exit status, once it has ended.
        words: the last that it wrote to its standard error, where it ended badly.
    """

    events: list[Event | BranchfoldError]
    status: int | None
    words: str = ""


def versions() -> str:
    """What must be the same on all nodes: what goes between them is pickled."""
    return f"Python {platform.python_version()}, branchfold {__version__}"


class WorkerActor:
    """Holds one worker's process; its methods return soon, so that it can be asked to stop between them."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._errors: IO[bytes] | None = None
        self._url = ""

    def node(self) -> Node:
        """Where this is."""
        return Node(platform.node(), versions())

    def start(self, job: Job) -> None:
        """Starts the process; the job comes here and not to the constructor, whose arguments Ray keeps."""
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
        self._url, self._errors = job.url, tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process lives
        self._process = Process(job, errors=self._errors)

    def told(self) -> Told:
        """What the process told by now, after a moment at most; and how it ended, where it has."""
        assert self._process is not None, "it was started"
        events, ended = _gathered(self._process.events)
        if not ended:
            return Told(events, None)
        status = self._process.wait()
        text = self._logged()
        return Told(events, status, text if status else "")

    def _logged(self) -> str:
        """What the process wrote, into Ray's log whole, and its end; without the passwords of the database."""
        assert self._errors is not None, "it was started"
        with self._errors as errors:
            errors.seek(0)
            text = without_secrets(errors.read().decode(errors="replace"), parse_url(self._url))
        print(text, file=sys.stderr, flush=True)
        return text[-_LAST_WORDS:]

    def stop(self) -> None:
        """Asks the process to stop; its trial's checkpoint is written then."""
        if self._process is not None:
            self._process.terminate()


def _gathered(told: Connection) -> tuple[list[Event | BranchfoldError], bool]:
    """The events of a moment, and whether there will be no more."""
    events: list[Event | BranchfoldError] = []
    deadline = time.monotonic() + _GATHERING
    while told.poll(max(0.0, deadline - time.monotonic())):
        try:
            events.append(told.recv())
        except (EOFError, OSError):
            return events, True
        if time.monotonic() > deadline:
            break
    return events, False
