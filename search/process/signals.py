"""Asked to stop: the first signal ends the work in order, a second one ends the process at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A user who asks again. A terminal's end is told twice by itself: by the shell, and by the kernel.
_INSISTING = (signal.SIGINT, signal.SIGTERM)
# Seconds in which further signals are the same request: `timeout` signals the process and its group.
_SAME_REQUEST = 0.25
# Seconds that the last words have.
_LAST_WORDS = 2.0

_last_words: list[Callable[[], object]] = []
_deferrals: list["Deferral"] = []
# A request that nobody has raised yet.
_pending: list["Interrupted"] = []


class Interrupted(BaseException):
    """The user or the system asked to stop. Not a KeyboardInterrupt: Lightning would turn that into an exit.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that says so: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return exit_status(self.number)


class TimeUp(Interrupted):
    """The time that the user gave is up."""


def exit_status(number: int) -> int:
    """The exit status of a process that a signal ended, as shells tell it."""
    return 128 + number


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turns the first SIGINT, SIGTERM or SIGHUP into Interrupted; a second one ends the process, after its last words.

    The second one is heard by a thread: it counts also while the main thread is in a long step of torch's. SIGHUP stays
    ignored where it is (`nohup`). In another thread than the main one, which alone may listen, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            _ask(Interrupted(number))

    numbers = [n for n in STOPPING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listening = threading.Thread(target=_listen, args=(reader,), name="signals", daemon=True)
    listening.start()
    _pending.clear()
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writer)
        listening.join()
        os.close(reader)


@dataclass
class Deferral:
    """A stretch of work that stops by itself when asked to.

    Attributes:
        request: to stop, if there was one.
    """

    request: Interrupted | None = None


@contextmanager
def deferring() -> Iterator[Deferral]:
    """Inside, the first signal is only noted: what is in an exact state at some moments only stops at the next one.

    It is raised when the block ends, at the latest; where that ends by another error, by `stop_if_asked`.
    """
    deferral = Deferral()
    _deferrals.append(deferral)
    try:
        yield deferral
    except BaseException as error:
        if deferral.request is not None and error is not deferral.request:
            _pending.append(deferral.request)
        raise
    finally:
        _deferrals.remove(deferral)
    if deferral.request is not None:
        raise deferral.request


def stop_if_asked() -> None:
    """Raises a request to stop that came while something else was raised.

    Raises:
        Interrupted: if there was one.
    """
    if _pending:
        raise _pending.pop()


def _ask(request: Interrupted) -> None:
    if not _deferrals:
        raise request
    _deferrals[-1].request = request


@contextmanager
def stopping_after(seconds: float | None) -> Iterator[None]:
    """Stops what runs inside after so many seconds, as a signal would, by `TimeUp`; only in the main thread."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda number, frame: _ask(TimeUp(number)))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def last_words(action: Callable[[], object]) -> Iterator[None]:
    """What is done before a second signal ends the process: soon, whatever the main thread does, in another thread."""
    _last_words.append(action)
    try:
        yield
    finally:
        _last_words.remove(action)


def _listen(reader: int) -> None:
    """Waits for a second signal; ends with the pipe's other end."""
    first: float | None = None
    while heard := os.read(reader, 1):
        now = time.monotonic()
        if heard[0] not in STOPPING:
            continue
        if first is None:
            first = now
        elif heard[0] in _INSISTING and now - first > _SAME_REQUEST:
            _end_at_once(heard[0])


def _end_at_once(number: int) -> None:
    speaking = threading.Thread(target=_say_all, daemon=True)
    speaking.start()
    speaking.join(_LAST_WORDS)
    os._exit(exit_status(number))


def _say_all() -> None:
    for action in list(_last_words):
        with suppress(Exception):
            action()
