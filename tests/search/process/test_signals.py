"""What a first and a second signal do."""

import signal
import subprocess
import sys
import time

import pytest

from branchfold.search.process.signals import STOPPING, Interrupted, last_words, stopping_on_signals

# The main thread is in one call of C that takes minutes and lets other threads run, like a step of torch's.
DEEP = """
import hashlib, sys
from branchfold.search.process.signals import last_words, stopping_on_signals
def say(word): print(word, flush=True)
with last_words(lambda: say("first")), last_words(lambda: 1 / 0), last_words(lambda: say("last")):
    with stopping_on_signals():
        say("deep")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_interrupts_with_its_status(number, status):
    with pytest.raises(Interrupted) as stopped, stopping_on_signals():
        signal.raise_signal(number)
    assert stopped.value.status == status


def test_the_same_request_twice_is_one():
    """`timeout` signals a process and then its group."""
    wound_up = []

    def wind_up():
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        wound_up.append(True)

    def asked():
        with stopping_on_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                wind_up()

    with pytest.raises(Interrupted):
        asked()
    assert wound_up


def test_an_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_everything_is_put_back():
    before = [signal.getsignal(number) for number in STOPPING]
    with stopping_on_signals():
        assert [signal.getsignal(number) for number in STOPPING] != before
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(("second", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_one_ends_a_process_deep_in_c_after_its_last_words(second, status):
    process = subprocess.Popen([sys.executable, "-c", DEEP], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "deep\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.4)
    assert process.poll() is None
    process.send_signal(second)
    out, _ = process.communicate(timeout=60)
    assert out == "first\nlast\n"
    assert process.returncode == status


def test_last_words_are_forgotten_after_their_block():
    said = []
    with last_words(lambda: said.append(1)):
        pass
    assert said == []
