"""How commands reach the terminal: the console, lines printed as they are, progress that a signal ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from .options import Detail


def make_console() -> Console:
    """Where results go: standard output, as wide as it needs where that is no terminal and COLUMNS says nothing."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdecimal():
        console = Console(highlight=False, width=160)
    return console


def can_draw(console: Console) -> bool:
    """Whether the console's encoding has block characters."""
    return console.encoding.lower().replace("-", "").startswith("utf")


def print_line(console: Console, text: str) -> None:
    """Prints text as it is: unbroken, without markup."""
    console.print(text, markup=False, soft_wrap=True)


def announce(console: Console, study: str, detail: Detail) -> None:
    """Says at once what begins: importing torch takes seconds."""
    if detail != "quiet":
        print_line(console, f"study {study}: loading torch …")


@contextmanager
def ending_on_signals(console: Console, hint: Callable[[], str], *, at_once: str) -> Iterator[None]:
    """Prints a hint where a signal ends what runs inside, and exits with the status that names the signal.

    Args:
        console: where to.
        hint: the line, made when it is needed.
        at_once: the line where a second signal leaves no time for that.
    """
    from ..process.signals import Interrupted, last_words

    def shout() -> None:
        console.show_cursor(True)  # a status line hides it
        print_line(console, at_once)

    try:
        with last_words(shout):
            yield
    except Interrupted as stopped:
        try:
            print_line(console, hint())
        except OSError:  # the terminal is gone; Python would stumble on it again when it flushes at its end
            _mute()
        sys.exit(stopped.status)


def _mute() -> None:
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
