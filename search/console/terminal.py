"""How commands reach the terminal: the console, lines printed as they are, progress that Ctrl-C ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from .progress import Progress


def make_console() -> Console:
    """Where results go: standard output, as wide as it needs where that is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    return console


def print_line(console: Console, text: str) -> None:
    """Prints text as it is: unbroken, without markup."""
    console.print(text, markup=False, soft_wrap=True)


@contextmanager
def watching(console: Console) -> Iterator[Progress]:
    """Progress of trials that belong to no run; Ctrl-C ends them with one line."""
    from ..run.processes import quiet_optuna, stopping_on_signals
    from ..run.worker import Interrupted
    from .progress import Progress

    try:
        with quiet_optuna(), stopping_on_signals(), Progress(console, 1) as progress:
            yield progress
    except Interrupted:
        print_line(console, "stopped; the same command goes on from what is finished")
        sys.exit(130)
