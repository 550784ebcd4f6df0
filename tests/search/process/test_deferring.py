"""Work that stops by itself at a good moment, and time that is up."""

import signal
import time

import pytest

from branchfold.search.process.signals import (
    Interrupted,
    TimeUp,
    deferring,
    stop_if_asked,
    stopping_after,
    stopping_on_signals,
)


def ask():
    signal.raise_signal(signal.SIGTERM)


def deferred(done):
    with deferring() as deferral:
        assert deferral.request is None
        ask()
        assert isinstance(deferral.request, Interrupted)
        done.append("inside")
    done.append("after")


def test_a_request_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(Interrupted) as stopped, stopping_on_signals():
        deferred(done)
    assert done == ["inside"]
    assert stopped.value.status == 143


def failing():
    with deferring():
        ask()
        raise ValueError("first")


def test_a_request_is_not_lost_when_the_block_ends_by_an_error():
    with stopping_on_signals():
        with pytest.raises(ValueError, match="first"):
            failing()
        with pytest.raises(Interrupted):
            stop_if_asked()
        stop_if_asked()


def stopping_itself():
    with deferring() as deferral:
        ask()
        raise deferral.request


def test_what_is_raised_inside_is_raised_once():
    with pytest.raises(Interrupted), stopping_on_signals():
        stopping_itself()
    stop_if_asked()


def test_outside_it_is_raised_at_once():
    with stopping_on_signals():
        with deferring():
            pass
        with pytest.raises(Interrupted):
            ask()


def test_time_that_is_up_is_such_a_request():
    with pytest.raises(TimeUp), stopping_after(0.05):
        time.sleep(5)
    before = signal.getsignal(signal.SIGALRM)
    with stopping_after(1000):
        pass
    with stopping_after(None):
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
