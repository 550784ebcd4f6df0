"""The errors a user can mend, which the command line shows in one line each with exit status 2, and such lines."""

import difflib
from collections.abc import Iterable


class BranchfoldError(Exception):
    """An error a user can mend, shown as one line."""


class NetworkError(BranchfoldError):
    """A network that cannot be built, loaded, traced or matched with its checkpoint."""


class InputsError(NetworkError):
    """A network that does not run on the inputs that it is given."""


class DataError(BranchfoldError):
    """A data set that is missing, unreadable or unknown."""


class ScheduleError(BranchfoldError):
    """An α schedule that does not exist or whose parameters are out of range."""


class StudyError(BranchfoldError):
    """A study whose definition, database or state does not allow what was asked."""


class VerificationError(BranchfoldError):
    """An exported file that computes something else than the network it was made from: exit status 1."""


def one_line(error: BaseException, *, whole: bool = False) -> str:
    """The first line of an error's message that says anything, or the error's type where none does.

    Args:
        error: Any error, also one that is none of branchfold's.
        whole: Whether all lines count, joined to one.
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines) if whole else lines[0]


def typed_line(error: BaseException) -> str:
    """An error's type and `one_line` of it, "ValueError: width must be above 0"; the type alone without a message."""
    kind, line = type(error).__name__, one_line(error)
    return kind if line == kind else f"{kind}: {line}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Text that follows a mistake, "; did you mean …?" with the most similar known word, or "" if none is similar."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
