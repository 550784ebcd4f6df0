"""What networks train in: precision and memory format, where asked the faster ones, found by timing."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from ...models.cost import batch_size
from ...models.examples import arguments, moved, placed
from ...models.layers.copying import deep_copy
from ...models.tracing.inputs import with_tensors
from ..tasks.task import Task

AUTO = "auto"
# Of a baseline's record: what it was trained in, and all trials of its study are.
ARITHMETIC = "arithmetic"
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# What is taken instead of float32 in torch's own memory format must be faster by so much: timing is noisy.
_WORTHWHILE = 0.9
# A step that is over sooner is mostly Python, which no format makes faster.
_SHORT = 0.01  # seconds
_EXAMPLES = 32
_ROUNDS = 5
_PATIENCE = 20.0  # seconds after which no further round begins, once there were two


@dataclass(frozen=True)
class Arithmetic:
    """How networks train; what is reported of them is always that of the float32 network.

    Attributes:
        precision: "float32", or "bfloat16" for automatic mixed precision: weights and losses stay float32.
        memory_format: "contiguous", or "channels_last" for weights and images that keep a pixel's channels together.
    """

    precision: str = "float32"
    memory_format: str = "contiguous"

    def arranged(self, network: nn.Module) -> nn.Module:
        """The same network, its weights in this memory format."""
        return network.to(memory_format=_FORMATS[self.memory_format])

    def running(self, device: torch.device) -> AbstractContextManager[Any]:
        """What forwards on a device run in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def at(self, precision: str) -> "Arithmetic":
        """With the precision of a recipe, or this one where that says "auto"."""
        return self if precision == AUTO else replace(self, precision=precision)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Arithmetic":
        """What a baseline's record keeps; float32 as ever where it is of a version that had no other."""
        return cls(**record.get(ARITHMETIC, {}))

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return self.precision if self.memory_format == "contiguous" else f"{self.precision}, {self.memory_format}"


PLAIN = Arithmetic()


@dataclass(frozen=True)
class Choice:
    """An arithmetic, and why.

    Attributes:
        arithmetic: that is taken.
        seconds: least of a training step of each that was timed; empty where nothing was to be chosen.
        examples: in such a step.
    """

    arithmetic: Arithmetic
    seconds: dict[Arithmetic, float]
    examples: int = 0

    @property
    def share(self) -> float:
        """Time of a step over that in float32 and torch's own memory format."""
        return self.seconds[self.arithmetic] / self.seconds[PLAIN] if PLAIN in self.seconds else 1.0


def candidates(network: nn.Module, precision: str, memory_format: str) -> list[Arithmetic]:
    """What may be chosen, float32 in torch's own memory format first where it may.

    Args:
        network: whose weights decide whether there is another memory format: that is one of four dimensions.
        precision: that is wanted, or "auto".
        memory_format: likewise.
    """
    precisions = ["float32", "bfloat16"] if precision == AUTO else [precision]
    formats = list(_FORMATS) if memory_format == AUTO else [memory_format]
    dimensions = {parameter.dim() for parameter in network.parameters()}
    if 4 not in dimensions or 5 in dimensions:
        formats = ["contiguous"]
    return [Arithmetic(each, format_) for each in precisions for format_ in formats]


def choose(
    network: nn.Module,
    batch: tuple[Any, Any],
    task: Task,
    *,
    precision: str,
    memory_format: str,
    device: torch.device,
) -> Choice:
    """The arithmetic that a network trains fastest in, by a few steps of each in turn; no step changes the network.

    Float32 in torch's own memory format stays unless another is faster by a tenth.

    Args:
        network: to train.
        batch: inputs and what the data give with them; the first 32 examples at most are taken.
        task: whose loss is minimised.
        precision: "auto", or the one that is taken.
        memory_format: likewise.
        device: where it trains.
    """
    among = candidates(network, precision, memory_format)
    if len(among) == 1:
        return Choice(among[0], {})
    inputs, given = with_tensors(batch, lambda tensor: tensor[:_EXAMPLES])
    steps = {each: _step_of(network, inputs, given, task, each, device) for each in among}
    with _random_numbers_kept():
        seconds = _least(steps)
    return Choice(_best(seconds), seconds, batch_size(arguments(inputs)))


def _best(seconds: dict[Arithmetic, float]) -> Arithmetic:
    first, fastest = next(iter(seconds)), min(seconds, key=lambda each: seconds[each])
    worthwhile = seconds[first] >= _SHORT and seconds[fastest] <= _WORTHWHILE * seconds[first]
    return fastest if worthwhile else first


def _least(steps: dict[Arithmetic, Callable[[], None]]) -> dict[Arithmetic, float]:
    """Least seconds of each step, timed in turn: whatever else runs here only adds. The first pass of each warms up."""
    begin = time.perf_counter()
    for step in steps.values():
        step()
    times: dict[Arithmetic, list[float]] = {each: [] for each in steps}
    for number in range(_ROUNDS):
        if number >= 2 and time.perf_counter() - begin > _PATIENCE:
            break
        for each, step in steps.items():
            start = time.perf_counter()
            step()
            times[each].append(time.perf_counter() - start)
    return {each: min(values) for each, values in times.items()}


def _step_of(
    network: nn.Module, inputs: Any, given: Any, task: Task, arithmetic: Arithmetic, device: torch.device
) -> Callable[[], None]:
    """One step of training a copy of the network: forward, backward, SGD; it ends when the device has done it."""
    copy = arithmetic.arranged(deep_copy(network).to(device)).train()
    there, targets = placed(inputs, copy), task.targets(moved(inputs, device), moved(given, device))
    optimizer = torch.optim.SGD([p for p in copy.parameters() if p.requires_grad], lr=0.0, momentum=0.9)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=arithmetic.precision == "bfloat16"):
            loss = task.loss(copy(*there), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Dropout in the timed steps draws random numbers; afterwards torch's go on as if it had not."""
    with torch.random.fork_rng():
        yield
