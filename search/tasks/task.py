"""What every task is: a loss to train on and a metric to judge by."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from ...studies.metric import Metric
from .distances import squares


class Judge(Protocol):
    """Judges outputs batch by batch."""

    def add(self, outputs: Any, targets: Any) -> None:
        """Takes a batch's outputs and targets into account."""

    def value(self) -> float:
        """The metric over all that was added."""

    def scores(self) -> Tensor | None:
        """(N,) the metric of each example, in order; None where it is one of all together."""


class PerExample:
    """The mean of one value per example.

    Args:
        score: from a batch's outputs and targets to (N,) values.
    """

    def __init__(self, score: Callable[[Any, Any], Tensor]) -> None:
        self._score = score
        self._scores: list[Tensor] = []

    def add(self, outputs: Any, targets: Any) -> None:
        """Takes a batch's outputs and targets into account."""
        self._scores.append(self._score(outputs, targets).detach().double().cpu())

    def value(self) -> float:
        """The mean over all examples."""
        scores = self.scores()
        return float(scores.sum()) / len(scores)

    def scores(self) -> Tensor:
        """(N,) float64 of each example."""
        return torch.cat(self._scores)


class Accumulated:
    """A metric of torchmetrics, of all examples together.

    Args:
        metric: a new one, for this judge alone.
        shown: what it is to see of a batch's outputs and targets.
    """

    def __init__(self, metric: Any, shown: Callable[[Any, Any], tuple[Any, Any]] = lambda o, t: (o, t)) -> None:
        self._metric, self._shown = metric, shown

    def add(self, outputs: Any, targets: Any) -> None:
        """Takes a batch's outputs and targets into account."""
        self._metric.update(*self._shown(outputs, targets))

    def value(self) -> float:
        """The metric over all examples."""
        return float(self._metric.compute())

    def scores(self) -> None:
        """None: no single example has a value."""


class Task(ABC):
    """A task.

    Attributes:
        metric: what a study of it measures.
        stratified: whether targets are classes of which every split has its share.
        smooths_labels: whether its loss knows label smoothing.
    """

    metric: Metric
    stratified: bool = False
    smooths_labels: bool = False

    @abstractmethod
    def loss(self, outputs: Any, targets: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The scalar to minimise, a mean over the examples of a batch."""

    @abstractmethod
    def judge(self) -> Judge:
        """A new judge of the metric."""

    def targets(self, inputs: Any, targets: Any) -> Any:
        """What a network is to give for these inputs: what the data says."""
        return targets

    def distance(self, outputs: Any, teacher: Any, *, kind: str, temperature: float) -> Tensor:
        """How far outputs are from those of the baseline: half the mean squared difference, whatever the kind."""
        return squares(outputs, teacher)

    def wrong_targets(self, targets: Any) -> str:
        """What is wrong with a batch's targets; nothing if all is well."""
        return ""

    def misfit(self, outputs: Any, targets: Any) -> str:
        """What is wrong with a network's outputs for a batch whose targets are right; nothing if all is well."""
        return ""

    def constants(self, targets: Iterable[Any]) -> list[Callable[[Any], Any]]:
        """Answers that are the same for every example and good ones of their kind; none where that is not known.

        Args:
            targets: batch by batch, which tell what is answered best.

        Returns:
            Functions from a batch's targets to outputs for as many examples.
        """
        return []

    def classes(self, outputs: Any) -> set[int]:
        """The classes that a batch's outputs name; none where a task has no classes of whole examples."""
        return set()


def shape_text(value: Any) -> str:
    """The shape of a tensor, the type of anything else."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
