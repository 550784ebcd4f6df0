"""How long a thread waits for its core."""

import os
import subprocess
import sys
import time

import pytest

from branchfold.search.process import machine
from branchfold.search.process.machine import Waiting


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be kept on one core here")
def test_another_program_on_the_same_core_makes_it_wait():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        other = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        other.stdout.readline()
        with Waiting() as waiting:
            begun = time.process_time()
            while time.process_time() < begun + 0.1:
                pass
        other.kill()
        other.communicate()
    finally:
        os.sched_setaffinity(0, before)
    assert 0.2 < waiting.share < 0.99


def test_the_share_is_of_the_time_that_it_wanted_to_run(monkeypatch):
    told = iter([(100, 50), (400, 150)])
    monkeypatch.setattr(machine, "_ran_and_waited", lambda: next(told))
    with Waiting() as waiting:
        pass
    assert waiting.share == 0.25


def test_where_the_system_does_not_tell_nothing_waits(monkeypatch):
    monkeypatch.setattr(machine, "_ran_and_waited", lambda: (0, 0))
    with Waiting() as waiting:
        pass
    assert waiting.share == 0
