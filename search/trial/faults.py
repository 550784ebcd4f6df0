"""What goes wrong in a trial through no fault of the program: told in one line, as the trial's outcome."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from ...errors import BranchfoldError, one_line
from ...studies.database.places.addresses import DATABASE_ERRORS

_ALLOCATOR = "DefaultCPUAllocator"


class Fault(BranchfoldError):  # noqa: N818  what happened to a trial
    """A trial could not be run to its end on this machine."""


class Taken(Exception):  # noqa: N818  what happened to a trial
    """Another process has taken over the trial: this one was silent for so long that it must have seemed dead."""


# What a trial is raised out of that others go on with, now or later.
NOT_ITS_END = (Taken, UpdateFinishedTrialError, *DATABASE_ERRORS)


@contextmanager
def as_outcomes() -> Iterator[None]:
    """Turns what a machine lacks, memory or room or files, into the trial's outcome.

    Raises:
        Fault: in the error's place.
        Taken: where the trial was ended by another process.
    """
    try:
        yield
    except UpdateFinishedTrialError as error:
        raise Taken from error
    except (MemoryError, OSError, RuntimeError) as error:
        if (reason := _reason(error)) is None:
            raise
        error.__traceback__ = None  # its frames hold what takes the memory
    else:
        return
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    raise Fault(reason)


def check_running(trial: optuna.Trial) -> None:
    """Checks that a trial of this process still is one.

    Raises:
        Taken: if another process has ended it.
    """
    if trial.storage.get_trial(trial._trial_id).state != TrialState.RUNNING:
        raise Taken


def _reason(error: Exception) -> str | None:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of the GPU's memory: {one_line(error):.160}; a smaller trial.batch_size needs less"
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or one_line(error)}{where}"
    if _ALLOCATOR in str(error):
        return f"out of memory: {one_line(error):.160}; a smaller trial.batch_size needs less"
    return None
