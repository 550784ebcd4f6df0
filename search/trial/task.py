"""What all trials of a study share: its data, the network to prune, and what that network costs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ...errors import StudyError
from ...models.cost import CostModel
from ...models.layers.modes import evaluating
from ...models.networks.factories import build_network
from ...studies.definition.reading import Definition
from ..data.batches import Batches, Split
from ..data.splits import ImageData, load_data, source_of
from ..space import SearchSpace, check_space
from ..tasks.table import make_task
from ..tasks.task import Task as Goal
from ..training.compute import Meter

_EVALUATION_BATCH = 500
_GLANCE = 500


@dataclass(frozen=True)
class Task:
    """A study's definition with its data in memory.

    Attributes:
        definition: the study.
        data: train and validation split.
        costs: the network's cost as a function of its widths.
        goal: what the network is for: its loss and its metric.
    """

    definition: Definition
    data: ImageData
    costs: CostModel
    goal: Goal

    @staticmethod
    def of(definition: Definition) -> "Task":
        """Loads the data, once the network is known to fit it and to be one that can be narrowed as asked.

        Raises:
            StudyError: if the network does not fit the data, or the space the network.
            DataError: if the data cannot be had.
            NetworkError: if the network cannot be built or traced.
        """
        network = new_network(definition)
        table = definition.data
        source = source_of(table.name)
        example = torch.zeros(2, *source.shape)
        costs = CostModel(network, example)
        with evaluating(network):
            logits = network(example)
        if not isinstance(logits, Tensor) or logits.shape != (2, source.num_classes):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise StudyError(
                f"model.factory = {definition.model.factory!r} gives {shape} for two images of {table.name}, "
                f"which has {source.num_classes} classes: set model.num_classes = {source.num_classes}"
            )
        check_space(SearchSpace(definition, costs, errors=dict))
        data = load_data(
            table.name, table.root, validation=table.validation, seed=definition.study.seed, limit=table.limit
        )
        goal = make_task(
            definition.task.name, definition.task.arguments, num_classes=source.num_classes, scale=data.std
        )
        return Task(definition, data, costs, goal)

    def training_batches(self, batch_size: int, *, seed: int, augment: bool = True) -> Batches:
        """Shuffled batches of the train split, augmented unless the study never does or this is not asked for.

        Whole batches, because BatchNorm needs its two examples.
        """
        whole = len(self.data.train) >= batch_size
        augment = augment and self.definition.data.augment
        return self._batches(self.data.train, batch_size, seed=seed, shuffle=True, augment=augment, drop_last=whole)

    def validation_batches(self) -> Batches:
        """The validation split."""
        return self._batches(self.data.validation, _EVALUATION_BATCH)

    def meter(self) -> Meter:
        """A new meter of compute, in epochs of the baseline's training."""
        return Meter.of(len(self.data.train), self.costs.full.macs, self.data.input_shape)

    @cached_property
    def glance(self) -> list[tuple[Tensor, Tensor]]:
        """The validation split's first examples, enough to see whether its loss improves."""
        validation = self.data.validation
        first = Split(validation.images[:_GLANCE], validation.labels[:_GLANCE], validation.name)
        return list(self._batches(first, _EVALUATION_BATCH))

    @cached_property
    def calibration_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Unaugmented training examples that branches are initialised from."""
        count = self.definition.trial.calibration_examples
        train = self.data.train
        first = Split(train.images[:count], train.labels[:count], train.name)
        return list(self._batches(first, self.definition.trial.batch_size))

    @cached_property
    def recalibration_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Unaugmented training batches that BatchNorm statistics are recomputed on."""
        train, trial = self.data.train, self.definition.trial
        count = trial.recalibration_batches * trial.batch_size
        last = Split(train.images[-count:], train.labels[-count:], train.name)
        return list(self._batches(last, trial.batch_size, drop_last=len(last) >= trial.batch_size))

    def _batches(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augment: bool = False,
        drop_last: bool = False,
    ) -> Batches:
        mean, std = self.data.mean, self.data.std
        return Batches(
            split,
            batch_size,
            mean=mean,
            std=std,
            shuffle=shuffle,
            augment=augment,
            seed=seed,
            drop_last=drop_last,
        )


def new_network(definition: Definition) -> nn.Module:
    """The study's network, untrained; its weights depend on the study's seed.

    Raises:
        NetworkError: if it cannot be built.
    """
    torch.manual_seed(definition.study.seed)
    return build_network(definition.model.factory, definition.model.arguments)
