"""A worker on a cluster as the run sees it; a cluster of this process's own stands in for Ray."""

import time
from multiprocessing.connection import Pipe
from types import SimpleNamespace

import pytest

from branchfold.errors import StudyError
from branchfold.search.cluster import actor, remote
from branchfold.search.cluster.actor import Node, Told, WorkerActor, versions
from branchfold.search.cluster.cluster import Needs, room_on
from branchfold.search.cluster.remote import RemoteWorker
from branchfold.search.crew.lifeline import Job
from branchfold.search.events import Notice, TrialTaken

JOB = Job(3, {}, "postgresql://server/x", 1, 1)


class LostError(Exception):
    """As Ray raises where an actor is no more."""


class FakeRay:
    """Calls actors at once; what they raise is raised when it is asked for."""

    exceptions = SimpleNamespace(OutOfMemoryError=MemoryError)

    def __init__(self, room=True):
        self.room, self.killed = room, []

    def wait(self, references, timeout):
        if not self.room:
            time.sleep(0.01)
        return (references if self.room else []), []

    def get(self, reference):
        return reference()

    def kill(self, handle, no_restart):
        self.killed.append(handle)


class Handle:
    """An actor that answers what it is told to, in this order."""

    def __init__(self, *told, node=None):
        self.asked, left = [], list(told)

        def next_told():
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        answers = {"node": lambda: node or Node("elsewhere", versions()), "told": next_told}
        for name in ("node", "start", "told", "stop"):
            setattr(self, name, SimpleNamespace(remote=self._asking(name, answers.get(name, lambda: None))))

    def _asking(self, name, answer):
        def ask(*given):
            self.asked.append((name, *given))
            return answer

        return ask


def heard(worker):
    events = []
    while True:
        try:
            events.append(worker.events.recv())
        except EOFError:
            return events


def test_tells_and_ends_as_a_process_would():
    handle = Handle(Told([TrialTaken(5)], None), Told([], 0))
    worker = RemoteWorker(JOB, handle, FakeRay())
    assert heard(worker) == [Notice("worker 3 runs on elsewhere"), TrialTaken(5)]
    assert (worker.wait(), worker.death, worker.lost) == (0, "", False)
    assert handle.asked[:2] == [("node",), ("start", JOB)]


@pytest.mark.parametrize(
    ("error", "death"),
    [
        (LostError("The actor died because its node has died."), "its node was lost"),
        (MemoryError("x"), "Ray ended it, for the memory of its node ran out"),
        (LostError("a socket"), "its actor was lost"),
        (
            LostError("in actor\nModuleNotFoundError: No module named 'branchfold'"),
            "branchfold cannot be imported there (ModuleNotFoundError: No module named 'branchfold'); "
            "install it on every node",
        ),
    ],
)
def test_a_death_is_told_with_its_reason(error, death):
    worker = RemoteWorker(JOB, Handle(Told([TrialTaken(5)], None), error), FakeRay())
    assert heard(worker)[-1] == TrialTaken(5)
    assert (worker.wait(), worker.death, worker.lost) == (-9, death, True)


def test_another_version_is_refused():
    worker = RemoteWorker(JOB, Handle(node=Node("old", "Python 3.0, branchfold 0")), FakeRay())
    [error] = heard(worker)
    assert isinstance(error, StudyError)
    assert str(error).startswith("node old has Python 3.0, branchfold 0, and this machine ")
    assert worker.wait() == 1


def test_without_room_it_ends_in_peace(monkeypatch):
    monkeypatch.setattr(remote, "ROOM_TIMEOUT", 0.05)
    handle, ray = Handle(), FakeRay(room=False)
    worker = RemoteWorker(JOB, handle, ray)
    assert heard(worker) == [Notice("worker 3 found no room on the cluster in 0 s")]
    assert (worker.wait(), ray.killed) == (0, [handle])
    assert handle.asked == [("node",)]


def test_is_asked_to_stop_and_waited_for():
    handle = Handle(Told([], None))
    worker = RemoteWorker(JOB, handle, FakeRay())
    assert worker.events.recv() == Notice("worker 3 runs on elsewhere")
    worker.terminate()
    assert ("stop",) in handle.asked
    handle.told = SimpleNamespace(remote=lambda: lambda: Told([Notice("last")], 0))
    assert heard(worker) == [Notice("last")]
    assert worker.wait() == 0


def test_the_actor_gathers_what_its_process_tells(monkeypatch, capsys):
    started = []

    class Here:
        def __init__(self, job, errors):
            self.events, self.telling = Pipe(duplex=False)
            errors.write(b"to postgresql://me:hush@server/x\nbecause")
            started.append(job)

        def wait(self):
            return 7

    monkeypatch.setattr(actor, "Process", Here)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(actor, "_GATHERING", 0.05)
    worker = WorkerActor()
    worker.stop()  # before it has anything to stop
    url = "postgresql://me:hush@server/x"
    worker.start(JOB._replace(url=url))
    assert worker.told() == Told([], None)
    worker._process.telling.send(TrialTaken(1))
    worker._process.telling.send(TrialTaken(2))
    assert worker.told() == Told([TrialTaken(1), TrialTaken(2)], None)
    worker._process.telling.close()
    assert worker.told() == Told([], 7, "to postgresql://me:***@server/x\nbecause")
    assert started == [JOB._replace(url=url)]
    said = capsys.readouterr()
    assert ("because" in said.err, "hush" in said.err) == (True, False)


def test_room_is_counted_node_by_node():
    nodes = [{"CPU": 5.0}, {"CPU": 3.0, "GPU": 2.0}, {"memory": 1.0}]
    assert room_on(nodes, Needs(cpus=2)) == 3
    assert room_on(nodes, Needs(cpus=4)) == 1
    assert room_on(nodes, Needs(gpus=1)) == 2
    assert room_on(nodes, Needs(gpus=0.5)) == 3  # the cores of that node
    assert room_on(nodes, Needs(gpus=0.6)) == 2
    assert room_on(nodes, Needs(gpus=3)) == 0


def test_last_words_are_told_with_where_they_were_said():
    worker = RemoteWorker(JOB, Handle(Told([], 1, "Traceback\nboom")), FakeRay())
    assert heard(worker)[1:] == [Notice("worker 3 on elsewhere: Traceback"), Notice("worker 3 on elsewhere: boom")]
    assert worker.wait() == 1
