"""A task of the user's own: a class with a loss and a metric."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import StudyError, nearest, typed_line
from ...models.networks.imports import importable, load_file, load_module
from ...studies.metric import Metric
from .given import PREFIX, given_task
from .task import Accumulated, Judge, PerExample, Task

_FORM = (
    "a task has loss(outputs, targets), metric(outputs, targets) with one value per example or a torchmetrics metric, "
    "name and higher_is_better"
)


class OwnTask(Task):
    """Runs what the user wrote.

    Args:
        own: an object with ``loss(outputs, targets)``, a scalar; ``metric``, a method from outputs and targets to one
            value per example (N,), or a metric of torchmetrics; ``name`` of the metric; ``higher_is_better``.
        spec: where it comes from, for messages.

    Raises:
        StudyError: if it lacks one of them.
    """

    def __init__(self, own: Any, spec: str) -> None:
        missing = [name for name in ("loss", "metric", "name", "higher_is_better") if not hasattr(own, name)]
        if missing:
            raise StudyError(f"task {spec!r} has no {missing[0]}: {_FORM}")
        if not isinstance(own.name, str) or not own.name.isidentifier():
            raise StudyError(f"task {spec!r}: name must be a word such as 'dice', but is {own.name!r}")
        if own.name in ("macs", "parameters", "latency"):
            raise StudyError(f"task {spec!r}: name must be another than that of a cost, but is {own.name!r}")
        if not isinstance(own.higher_is_better, bool):
            raise StudyError(f"task {spec!r}: higher_is_better must be True or False, but is {own.higher_is_better!r}")
        self.own, self.spec = own, spec
        self.accumulates = not callable(own.metric) or hasattr(own.metric, "update")
        if self.accumulates and not all(hasattr(own.metric, name) for name in ("update", "compute", "reset")):
            raise StudyError(f"task {spec!r}: metric is {type(own.metric).__name__}: {_FORM}")
        self.metric = Metric(
            own.name, own.higher_is_better, "accumulated" if self.accumulates else "mean", getattr(own, "unit", "")
        )

    def targets(self, inputs: Any, targets: Any) -> Any:
        """What the user's ``targets(inputs, targets)`` makes of them, if there is one."""
        return self.own.targets(inputs, targets) if hasattr(self.own, "targets") else targets

    def loss(self, outputs: Any, targets: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The user's loss.

        Raises:
            StudyError: if it fails, or is no scalar.
        """
        loss = self._ran("loss", outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise StudyError(f"task {self.spec!r}: loss must be one number in a tensor, but is {what}")
        return loss.reshape(())

    def judge(self) -> Judge:
        """The user's metric, per example or accumulating."""
        if self.accumulates:
            metric = copy.deepcopy(self.own.metric)
            metric.reset()
            return Accumulated(metric)
        return PerExample(self._scores)

    def distance(self, outputs: Any, teacher: Any, *, kind: str, temperature: float) -> Tensor:
        """Half the mean squared difference over all floating-point tensors of the outputs."""
        pairs = [(a, b) for a, b in zip(_tensors(outputs), _tensors(teacher), strict=True) if a.is_floating_point()]
        return torch.stack([0.5 * (a.float() - b.float()).square().mean() for a, b in pairs]).mean()

    def _ran(self, name: str, outputs: Any, targets: Any) -> Any:
        try:
            return getattr(self.own, name)(outputs, targets)
        except Exception as error:
            raise StudyError(f"task {self.spec!r}: {name} fails: {typed_line(error)}") from error

    def _scores(self, outputs: Any, targets: Any) -> Tensor:
        scores = self._ran("metric", outputs, targets)
        if not isinstance(scores, Tensor) or scores.dim() != 1:
            what = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise StudyError(f"task {self.spec!r}: metric must be one value per example, (N,), but is {what}")
        return scores


def own_task(spec: str, arguments: Mapping[str, Any]) -> OwnTask:
    """The task that a user's class makes.

    Args:
        spec: ``path/to/file.py:Task``, ``package.module:Task``, or the name of one that was given as an object.
        arguments: of the class.

    Raises:
        StudyError: if there is no such class, it cannot be made, or lacks something.
        NetworkError: if importing it fails.
    """
    if spec.startswith(PREFIX):
        return OwnTask(given_task(spec, arguments), spec)
    source, _, name = spec.rpartition(":")
    module, folder = load_file(source) if source.endswith(".py") else load_module(source)
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise StudyError(f"task {spec!r}: {source} has no class {name!r}{nearest(name, known)}")
    try:
        with importable(folder):
            own = factory(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise StudyError(f"task {spec!r} cannot be made with ({given}): {typed_line(error)}") from error
    return OwnTask(own, spec)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in inner for tensor in _tensors(item)]
