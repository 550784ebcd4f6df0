"""Files that need code of the user's own: told in one command what to name."""

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import StudyError
from ...models.checkpoints import UntrustedFactoryError
from ..data.reopening import UntrustedDataError
from ..exports.evaluation import tell_of
from ..exports.held_out import PLACE, UntrustedTaskError, own_code_of

# What options name the code of.
_MEANS = {"factory": "network", "data": "data", "task": "task"}


@contextmanager
def naming_own_code(command: str, file: Path, given: dict[str, str | None]) -> Iterator[None]:
    """Tells in one command what code of the user's own a file needs beside what was given, by option."""
    try:
        yield
    except (UntrustedDataError, UntrustedFactoryError, UntrustedTaskError):
        needed = own_code_of(tell_of(file).description)
        missing = [option for option in needed if given[option] is None]
        words = ["branchfold", command, str(file)]
        for option, name in needed.items():
            words += [f"--{option}", given[option] or name]
        objects = [option for option in missing if needed[option].startswith(PLACE)]
        sources = [
            (_listed(objects), "came as an object from the program that made the file"),
            (_listed(x for x in missing if x not in objects), "made by code of your own, which is not run unasked"),
        ]
        told = ", ".join(f"{what} {how}" for what, how in sources if what)
        raise StudyError(f"{file}: {told}: name it, {shlex.join(words)}") from None


def _listed(options: Iterable[str]) -> str:
    return " and ".join(f"its {_MEANS[option]}" for option in options)
