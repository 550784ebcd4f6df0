"""What a file is judged on: the split that its network never saw, found again by what the file says, and the task."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import DataError, StudyError
from ...models.checkpoints import NetworkDescription, UntrustedFactoryError, trusted_factory
from ...models.examples import arguments
from ...models.networks.given import PREFIX
from ...models.tracing.inputs import with_tensors
from ...studies.definition.reading import Definition
from ..data.batches import Pictures
from ..data.normalisation import Normalisation
from ..data.opening import Opened, Wanted
from ..data.part import Part
from ..data.reopening import reopened
from ..tasks.table import TASKS, make_task
from ..tasks.task import Task
from .files.package import normalisation
from .verification import BATCHES

_BATCH = 500
# Stands where only the user knows a path.
PLACE = "path/to/file.py"


class UntrustedTaskError(StudyError):
    """A network for a task of the user's own, which a file cannot make run."""


class Place(NamedTuple):
    """Where the data of a network are, and what code of the user's own may run: no file makes it run.

    Attributes:
        root: folder of the data set; None for where the file says that they were, or `data`.
        own: what makes data of the user's own.
        task: the user's own task.
    """

    root: str | None = None
    own: str | None = None
    task: str | None = None

    @staticmethod
    def of(definition: Definition) -> "Place":
        """Where a study's are."""
        own = definition.data.name if definition.data.is_own else None
        return Place(definition.data.root, own, definition.task.name)


@dataclass(frozen=True)
class HeldOut:
    """The test split of the data that a network was trained on, validation where there is none; and its inputs' form.

    Attributes:
        opened: the data.
        split: that the network is judged on.
        found: mean and standard deviation by which images are normalised.
        dtype: of the network.
        network: of the same class.
        task: what it is for.
    """

    opened: Opened
    split: Part
    found: Normalisation
    dtype: torch.dtype
    network: nn.Module
    task: Task

    @staticmethod
    def of(description: NetworkDescription, place: Place, network: nn.Module) -> "HeldOut":
        """What a description tells.

        Args:
            description: of the network.
            place: of its data.
            network: of the same class, for the order of its arguments.

        Raises:
            DataError: if it tells nothing, or the split cannot be had.
            StudyError: if the network is for a task of the user's own that is not given.
        """
        mean, std = normalisation(description)
        if not isinstance(description.metrics, list) or not all(isinstance(x, dict) for x in description.metrics):
            raise DataError(f"the checkpoint's metrics are damaged: {description.metrics!r:.40}")
        task = task_of_description(description, tuple(std) or (1.0,), place.task)
        opened = reopened(description.data, place.root, own=place.own)
        split = opened.judged(_silent)
        found = Normalisation(tuple(mean), tuple(std))
        return HeldOut(opened, split, found, getattr(torch, description.dtype), network, task)

    def batches(self, size: int = _BATCH, split: Part | None = None) -> Iterable[tuple[Any, Tensor]]:
        """The split, or a part of it, as a network takes it, with labels (N,)."""
        wanted = Wanted(_silent, arrange=lambda inputs: arguments(inputs, self.network))
        batches = self.opened.batches(split or self.split, size, self.found, wanted)
        return ((with_tensors(inputs, self._typed), labels) for inputs, labels in batches)

    def raw_batches(self, size: int = _BATCH, split: Part | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """The split's images, or those of a part of it, as they are, uint8, with labels (N,).

        Raises:
            DataError: if they are none.
        """
        part = split or self.split
        if not isinstance(part, Pictures):
            raise DataError(
                "images of your own are not known as they are: evaluate a file that does not normalise them"
            )
        return part.read(torch.arange(len(part)).split(size))

    def examples(self) -> tuple[Any, Any]:
        """The first few examples' inputs, as they are and as a network takes them; one of fewer comes again."""
        count = max(BATCHES)
        first = self.split.first(count)
        (inputs, _), *_ = self.batches(count, first)
        raw = next(iter(self.raw_batches(count, first)))[0] if isinstance(first, Pictures) else inputs
        chosen = torch.arange(count) % len(first)
        return with_tensors(raw, lambda x: x[chosen]), with_tensors(inputs, lambda x: x[chosen])

    def _typed(self, x: Tensor) -> Tensor:
        return x.to(self.dtype) if x.is_floating_point() else x


def _silent(line: str) -> None:
    """No word."""


def task_of_description(description: NetworkDescription, scale: tuple[float, ...], own: str | None) -> Task:
    """What a network is for; classification, where an earlier version did not say.

    Args:
        description: of the network.
        scale: (C,) by which the channels of its inputs were divided.
        own: the user's own task, where it is for one.

    Raises:
        UntrustedTaskError: if it is for a task of the user's own that is not given.
    """
    told = description.task or {"name": "classification"}
    name = str(told.get("name"))
    if name not in TASKS and own is None:
        if name.startswith(PREFIX):
            raise UntrustedTaskError(
                "the network is for a task that came as an object from the program that made the file: name its class, "
                "--task path/to/file.py:TASK"
            )
        raise UntrustedTaskError(f"the network is for {name}, which is not run unasked: name it with --task {name}")
    arguments, classes = told.get("arguments") or {}, told.get("num_classes")
    return make_task(own or name, arguments, num_classes=classes, scale=scale)


def own_code_of(description: NetworkDescription) -> dict[str, str]:
    """What code of the user's own a network needs, by the option that names it: `factory`, `data`, `task`.

    A place to be filled in stands for an object, which no name leads to.
    """
    found = {}
    try:
        trusted_factory(description, None, "")
    except UntrustedFactoryError:
        found["factory"] = description.factory
    if ":" in (data := str(description.data.get("name"))):
        found["data"] = data
    task = str((description.task or {"name": "classification"}).get("name"))
    if task not in TASKS:
        found["task"] = task
    objects = {"factory": "FACTORY", "data": "MAKE", "task": "TASK"}
    return {option: f"{PLACE}:{objects[option]}" if name.startswith(PREFIX) else name for option, name in found.items()}
