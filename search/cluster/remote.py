"""A worker on the cluster, seen by the run: it tells and ends as a process of this machine would."""

import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any

from ...errors import BranchfoldError, StudyError
from ..crew.lifeline import Job
from ..events import Notice
from .actor import Node, Told, versions

# Seconds that a worker waits for room on the cluster, and between looks for it.
ROOM_TIMEOUT = 60.0
_POLL = 1.0
# Seconds that a worker has for its checkpoint when it is asked to stop.
_STOPPING = 60.0


class RemoteWorker:
    """An actor whose events come out of a pipe here, as those of a process do.

    Attributes:
        events: what the worker tells; its end is the worker's.
        death: what Ray knows of its death; "" while it lives, or where its process ended by itself.
        lost: whether Ray lost the actor, and not only the actor its process.

    Args:
        job: of the worker.
        actor: a handle of Ray's on a `WorkerActor`.
        ray: the module.
    """

    def __init__(self, job: Job, actor: Any, ray: Any) -> None:
        self.events, self._telling = Pipe(duplex=False)
        self.death, self.lost = "", False
        self._job, self._actor, self._ray = job, actor, ray
        self._host = ""
        self._status, self._stopping, self._killed = 0, 0.0, False
        self._listening = threading.Thread(target=self._listen, name=f"cluster-{job.number}", daemon=True)
        self._listening.start()

    def terminate(self) -> None:
        """Asks the worker to stop."""
        self._stopping = self._stopping or time.monotonic()
        with suppress(Exception):  # it is gone already
            self._actor.stop.remote()

    def kill(self) -> None:
        """Ends the worker, whatever it is doing."""
        self._killed = True
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)

    def wait(self) -> int:
        """The exit status, once the worker has ended."""
        self._listening.join()
        self.events.close()
        return self._status

    def _listen(self) -> None:
        try:
            if self._has_room():
                self._pass_on()
        except BranchfoldError as error:
            self._tell(error)
            self._status = 1
        except Exception as error:  # of Ray's: the actor died, or could not begin
            self._died(error)
        finally:
            self._telling.close()
            if not self._killed:
                with suppress(Exception):
                    self._ray.kill(self._actor, no_restart=True)

    def _has_room(self) -> bool:
        """Waits until the actor is on a node, where it starts its process; False if it waits for too long."""
        there, deadline = self._actor.node.remote(), time.monotonic() + ROOM_TIMEOUT
        while not self._ray.wait([there], timeout=_POLL)[0]:
            if self._stopping:
                return False
            if time.monotonic() > deadline:
                self._tell(Notice(f"worker {self._job.number} found no room on the cluster in {ROOM_TIMEOUT:.0f} s"))
                return False
        node: Node = self._ray.get(there)
        if node.versions != versions():
            raise StudyError(f"node {node.host} has {node.versions}, and this machine {versions()}: install the same")
        self._host = node.host
        self._ray.get(self._actor.start.remote(self._job))
        self._tell(Notice(f"worker {self._job.number} runs on {node.host}"))
        return True

    def _pass_on(self) -> None:
        while True:
            asked = self._actor.told.remote()
            while not self._ray.wait([asked], timeout=_POLL)[0]:
                if self._stopping and time.monotonic() - self._stopping > _STOPPING:
                    return
            told: Told = self._ray.get(asked)
            for event in told.events:
                self._tell(event)
            if told.status is not None:
                self._status = told.status
                for line in told.words.splitlines():
                    self._tell(Notice(f"worker {self._job.number} on {self._host}: {line}"))
                return
            if self._stopping and time.monotonic() - self._stopping > _STOPPING:
                return

    def _tell(self, event: Any) -> None:
        with suppress(OSError):  # nobody listens any more
            self._telling.send(event)

    def _died(self, error: Exception) -> None:
        if self._stopping or self._killed:
            return
        self._status, self.lost = -signal.SIGKILL, True
        self.death = _reason(error, self._ray)


def _reason(error: Exception, ray: Any) -> str:
    """One line about an actor's death, of Ray's many."""
    text = str(error)
    if "No module named" in text:
        return f"branchfold cannot be imported there ({_line_with('No module named', text)}); install it on every node"
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "OOM" in text:
        return "Ray ended it, for the memory of its node ran out"
    if "node" in text.lower() and ("died" in text or "dead" in text or "unreachable" in text):
        return "its node was lost"
    return "its actor was lost"


def _line_with(words: str, text: str) -> str:
    return next(line.strip() for line in text.splitlines() if words in line)
