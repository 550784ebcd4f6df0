"""Checkpoints of a training that goes on: written every so often and when it is asked to stop, read by whoever goes on.

A checkpoint is written under another name, synced, and then renamed: one that is there is whole.
"""

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ...errors import one_line
from ...files import whole_file
from ..process.signals import Deferral, Interrupted
from .passes import Passes, Place
from .states import State

# Seconds between checkpoints at least.
INTERVAL = 20.0
# And so many times what the last one took: they cost 2 % of the time at most.
_SPARING = 50.0
_FORMAT = 1


class Resumable(pl.LightningModule, ABC):
    """What trains, and can be put back into a state."""

    @abstractmethod
    def training_state(self) -> State:
        """All that decides how it goes on, but the place in the data and random states."""


@dataclass
class Checkpoint:
    """The file of one training's state.

    Attributes:
        path: of the file.
        about: what the training is, in JSON types: a file about another one is not gone on with.
        check: called before the file is written; raises where the training is no longer this process's.
        failed: receives the reason where the file cannot be written: the training goes on without.
    """

    path: Path
    about: dict[str, Any]
    check: Callable[[], None] = lambda: None
    failed: Callable[[str], None] = lambda reason: None
    _due: float = field(default_factory=lambda: time.monotonic() + INTERVAL)

    def load(self) -> State | None:
        """The state that an earlier process left; None without one, also where it is damaged or of something else."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # torch raises whatever a damaged byte leads to
            return None
        if not isinstance(state, dict) or (state.get("format"), state.get("about")) != (_FORMAT, self.about):
            return None
        return state

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._due

    def save(self, state: State) -> None:
        """Writes a state in place of the one before, which stays where there is no room for another.

        Raises:
            BranchfoldError: whatever `check` raises.
        """
        self.check()
        started = time.monotonic()
        try:
            # Opened here: torch names what is in the file after a path, and knows none for a hidden one.
            with whole_file(self.path) as draft, draft.open("wb") as file:
                torch.save({"format": _FORMAT, "about": self.about, **state}, file)
        except (OSError, RuntimeError) as error:  # a full disk is either
            self.failed(f"cannot write {self.path}: {getattr(error, 'strerror', None) or one_line(error)}")
        ended = time.monotonic()
        self._due = ended + max(INTERVAL, _SPARING * (ended - started))

    @contextmanager
    def kept_until_its_end(self, *others: type[BaseException]) -> Iterator[None]:
        """Removes the file when the block ends, but where the training is to go on: stopped, or for these reasons."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, (Interrupted, KeyboardInterrupt, *others)):
                self.remove()
            raise
        self.remove()

    def remove(self) -> None:
        """Removes the file, of a training that ended."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class Checkpointing(pl.Callback):
    """Saves before a step: when it is due, or when the process is asked to stop, which then happens.

    Args:
        checkpoint: where to.
        module: what trains.
        passes: its batches.
        asked: whether the process is to stop.
        more: what else belongs to the state.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        module: Resumable,
        passes: Passes,
        asked: Deferral,
        more: Callable[[], State] = dict,
    ) -> None:
        self.checkpoint, self.module, self.passes = checkpoint, module, passes
        self.asked, self.more = asked, more
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's own handler, which it has put before ours, ends a training at the next step without a checkpoint.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        if self.asked.request is None and not self.checkpoint.is_due:
            return
        assert self.passes.place is not None, "a batch is there"
        place = self.passes.place._asdict()
        self.checkpoint.save({"training": self.module.training_state(), "place": place, **self.more()})
        if self.asked.request is not None:
            raise self.asked.request


def place_of(state: State) -> Place:
    """The place in the data of a state that `Checkpointing` saved."""
    return Place(**state["place"])


def stacked(losses: list[Tensor]) -> list[Tensor]:
    """Scalars as they are saved: on the CPU, in one list of one tensor."""
    return [torch.stack(losses).cpu()] if losses else []


def unstacked(saved: list[Tensor], device: torch.device) -> list[Tensor]:
    """Scalars that `stacked` gave, on a device."""
    return list(saved[0].to(device).unbind()) if saved else []
