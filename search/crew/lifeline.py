"""The process of a worker: started so that it ends when its parent does. Nothing heavy is imported here.

The watch must stand before torch is imported, which takes seconds; so a worker begins in this module, and not in the
user's main module, as multiprocessing would have it.
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple

# Linux: the signal that the kernel sends a process when its parent dies, whatever the process is doing (prctl.h).
_PR_SET_PDEATHSIG = 1
# Exit status of a worker whose parent has died; nobody reads it.
_ORPHANED = 1

# Given to Python as -c. A parent that dies in the midst of this leaves an end of file.
_START = """
import pickle, sys
try:
    sys.path[:] = pickle.load(sys.stdin.buffer)
except EOFError:
    sys.exit(1)
from {module} import begin
begin()
"""


class Job(NamedTuple):
    """What a worker is to do.

    Attributes:
        number: of the worker among those of the run.
        tables: the study's definition.
        url: of its database.
        target: finished trials that the study is to have.
        threads: of this worker.
        patience: trials without a better one after which the study ends.
    """

    number: int
    tables: dict[str, Any]
    url: str
    target: int
    threads: int
    patience: int | None = None


class Process:
    """A worker's process, seen by its parent.

    Attributes:
        events: what the worker tells; its end is the worker's.

    Args:
        job: of the worker.
        gpu: the only one that it sees, as CUDA_VISIBLE_DEVICES names it.
    """

    def __init__(self, job: Job, gpu: str | None = None) -> None:
        self.events, telling = Pipe(duplex=False)
        # Inherited: a Ctrl-C in the terminal and its end reach the worker too, which is ended from here.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(module=__name__)],
                stdin=subprocess.PIPE,
                pass_fds=[telling.fileno()],
                env=None if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        with telling, suppress(BrokenPipeError):  # a worker that died at once is told of when its events end
            assert self._process.stdin is not None
            for message in (sys.path, (os.getpid(), telling.fileno()), job):
                self._process.stdin.write(pickle.dumps(message))
            self._process.stdin.flush()  # and never closed: this open end is what keeps the worker alive

    def terminate(self) -> None:
        """Asks the worker to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends the worker, whatever it is doing."""
        self._process.kill()

    def wait(self) -> int:
        """The exit status, once the worker has ended."""
        status = self._process.wait()
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self.events.close()
        return status


def begin() -> None:
    """What a worker's process does: binds its life to its parent's, and only then imports what it works with."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        parent, telling = pickle.load(sys.stdin.buffer)
        end_with(parent)
        job = pickle.load(sys.stdin.buffer)
    except EOFError:
        sys.exit(_ORPHANED)
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="lifeline", daemon=True).start()
    os.set_inheritable(telling, False)

    from .crew import work

    work(job, Connection(telling, readable=False).send)


def end_with(parent: int) -> None:
    """Has the kernel end this process when its parent dies, where the kernel can (Linux)."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(_ORPHANED)


def _prctl() -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return found


def _watch(lifeline: int) -> None:
    """Ends this process when the other end of its standard input is closed, which only the parent's end does."""
    with suppress(OSError):
        while os.read(lifeline, 1):
            pass
    os._exit(_ORPHANED)
