"""Workers end with their parent, whatever they are doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from branchfold.search.crew import lifeline

WITHIN = 10  # seconds, for a loaded machine; of itself none of the children would end within a minute

PARENT = """
import os, signal, time
from branchfold.search.crew.lifeline import Job, Process
process = Process(Job(0, {}, "sqlite:///none.db", 1, 1))
print(process._process.pid, flush=True)
time.sleep(60)
"""
# Stands for a worker at work: in C with the interpreter's lock held, or without it.
CHILD = """
import hashlib, itertools, os, sys, threading
from branchfold.search.crew import lifeline
{watch}
print(os.getpid(), flush=True)
{work}
"""
GRANDPARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
time.sleep(60)
"""
BY_THE_KERNEL = "lifeline.end_with(os.getppid())"
BY_THE_PIPE = "threading.Thread(target=lifeline._watch, args=(0,), daemon=True).start()"
HOLDING_THE_LOCK = "sum(itertools.repeat(0))"
LETTING_OTHERS_RUN = 'hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)'


def killed(code, *arguments, after):
    """The worker of a parent that was killed some seconds after the worker began."""
    parent = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(after)
    assert Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    return worker


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_while_it_begins_and_imports(ends, after):
    assert ends(killed(PARENT, after=after), within=WITHIN)


def test_in_a_call_that_holds_the_lock(ends):
    child = CHILD.format(watch=BY_THE_KERNEL, work=HOLDING_THE_LOCK)
    assert ends(killed(GRANDPARENT, child, after=0.2), within=WITHIN)


def test_in_a_long_step_where_the_kernel_tells_nothing(ends):
    child = CHILD.format(watch=BY_THE_PIPE, work=LETTING_OTHERS_RUN)
    assert ends(killed(GRANDPARENT, child, after=0.2), within=WITHIN)


def test_an_orphan_from_the_start_ends_at_once():
    code = "from branchfold.search.crew import lifeline\nlifeline.end_with(1)\nprint('alive')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stdout == b""


def test_without_prctl_a_child_of_its_parent_lives_and_an_orphan_ends(monkeypatch):
    class Library:
        pass

    ended = []
    monkeypatch.setattr(lifeline.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(lifeline.os, "_exit", ended.append)
    lifeline.end_with(os.getppid())
    assert ended == []
    lifeline.end_with(os.getpid())  # nobody is the parent of itself
    assert ended == [1]


def test_nothing_heavy_is_imported_before_the_watch_stands():
    code = "import sys\nimport branchfold.search.crew.lifeline\nprint({'torch', 'optuna', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_a_worker_lives_as_long_as_its_parent_and_tells_it_how_it_ended():
    """The job names no study, which the worker tells in one line, through torch's import and all."""
    process = lifeline.Process(lifeline.Job(0, {"study": {"name": "x"}}, "sqlite:///none.db", 1, 1))
    error = process.events.recv()
    assert type(error).__name__ == "StudyError"
    with pytest.raises(EOFError):
        process.events.recv()
    assert process.wait() == 0
