"""What all trials of a study share: its data, the network to prune, and what that network costs."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DataError, StudyError
from ...models.cost import CostModel
from ...models.examples import arguments, placed
from ...models.layers.modes import evaluating, preserving_modes
from ...models.networks.factories import build_network, default_input_shape
from ...models.networks.pretrained import stated_normalisation
from ...studies.definition.dimensions import Fixed
from ...studies.definition.reading import Definition
from ..data.data import Augment, BatchSource, Data
from ..data.normalisation import Normalisation
from ..data.opening import ELSEWHERE, Opened, Wanted, open_data
from ..data.own.checks import Check
from ..data.splits import ImageData
from ..events import Listener, Notice
from ..space import SearchSpace, check_space
from ..tasks.table import make_task
from ..tasks.task import Task
from ..training.arithmetic import PLAIN, Arithmetic, Choice, choose
from ..training.compute import Meter
from ..training.device import check_device, training_device
from ..training.teaching import is_known, known_outputs
from .distilling import settled

_EVALUATION_BATCH = 500
_GLANCE = 500
_LEAK = (
    "{root} is split here, {share:.0f} % for testing: a network that was trained on images among these has seen "
    "what it is tested on; with folders train, validation and test in it all know what is held out"
)


@dataclass(frozen=True)
class Problem:
    """A study's definition with its data.

    Attributes:
        definition: the study.
        data: train and validation split.
        costs: the network's cost as a function of its widths.
        task: what the network is for: its loss and its metric.
        arithmetic: what its networks train in; the baseline's record keeps it.
        known: the baseline's outputs for the training images, as the study keeps them.
    """

    definition: Definition
    data: Data
    costs: CostModel
    task: Task
    arithmetic: Arithmetic = PLAIN
    known: Tensor | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def of(definition: Definition, notify: Listener = lambda event: None) -> "Problem":
        """Reads the data, once the network is known to fit it and to be one that can be narrowed as asked.

        Args:
            definition: the study.
            notify: receives what is told of the data.

        Raises:
            StudyError: if the device is not there, the network does not fit the data, or the space the network.
            DataError: if the data cannot be had.
            NetworkError: if the network cannot be built or traced.
        """
        check_device(definition.trial.device)
        network = new_network(definition)
        opened = opened_data(definition)
        inputs = arguments(opened.example(2), network)
        costs = CostModel(network, inputs)
        with evaluating(network):
            outputs = network(*inputs)
        classes = opened.num_classes
        if definition.task.name == "classification":
            classes = _classes(outputs, opened, definition)
        if definition.baseline.checkpoint is not None and opened.holds_out:
            notify(Notice(_LEAK.format(root=definition.data.root, share=100 * definition.data.test)))
        check_space(SearchSpace(definition, costs, errors=dict))
        name, arguments_of = definition.task.name, definition.task.arguments
        unscaled = make_task(name, arguments_of, num_classes=classes, scale=(1.0,))
        wanted = Wanted(
            lambda line: notify(Notice(line)), _stated(definition), _checked_by(unscaled), arranged_for(network)
        )
        _check_training(definition, unscaled)
        data = opened.read(wanted)
        task = make_task(name, arguments_of, num_classes=classes, scale=data.std or (1.0,))
        problem = Problem(settled(definition, data, outputs), data, costs, task)
        _check_fit(network, problem)
        return problem

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The forward's arguments for two examples."""
        return self.example(2)

    def example(self, count: int) -> tuple[Any, ...]:
        """The forward's arguments for so many examples."""
        return arguments(self.data.example(count))

    def described_data(self) -> dict[str, Any]:
        """What a file says of the data: their name, mean and std of their images, and what finds their splits again."""
        table, data = self.definition.data, self.data
        told = {"name": data.name, "mean": list(data.mean), "std": list(data.std)}
        if not table.is_own and not table.is_folder:
            return told
        keys = table.model_dump(mode="json", exclude=set(ELSEWHERE), exclude_none=True)
        if isinstance(data, ImageData):
            keys["size"] = list(data.input_shape[1:])
            told["classes"] = list(data.classes)
        return {**told, "keys": keys, "seed": self.definition.study.seed}

    def training_batches(
        self, batch_size: int, *, seed: int, augment: bool | str = True, known: Tensor | None = None
    ) -> BatchSource:
        """Shuffled batches of the train split.

        Whole batches, because BatchNorm needs its two examples.

        Args:
            batch_size: examples in a batch.
            seed: what order and augmentation depend on.
            augment: names of augmentations; true for those of the study's `[data]`, false for none.
            known: what `taught` returned for them.
        """
        whole, data = len(self.data.train) >= batch_size, self.data
        options: dict[str, Any] = {"seed": seed, "shuffle": True, "augment": self._augment(augment), "drop_last": whole}
        if known is not None:
            assert isinstance(data, ImageData)
            options["known"] = known
        return data.batches(data.train, batch_size, **options)

    def taught(self, teacher: nn.Module, augment: bool | str) -> Tensor | None:
        """The teacher's outputs for the training images that a trial sees, once for all trials: kept, or computed now.

        None where each of the images is another one, or they are not images: then the teacher runs beside the training.

        Args:
            teacher: the study's baseline.
            augment: as in `training_batches`.
        """
        if not self.may_know(teacher, augment):
            return None
        if self.known is not None:
            return self.known
        if teacher not in self._taught:
            assert isinstance(self.data, ImageData)
            device = training_device(self.definition.trial.device)
            self._taught[teacher] = known_outputs(teacher, self.data, self.arithmetic, device)
        return self._taught[teacher]

    def may_know(self, teacher: nn.Module, augment: bool | str) -> bool:
        """Whether the images that a trial sees are such that the teacher's outputs can be known; as in `taught`."""
        with evaluating(teacher):
            outputs = teacher(*placed(self.inputs, teacher))
        return is_known(outputs, self.data, self._augment(augment))

    @cached_property
    def _taught(self) -> "weakref.WeakKeyDictionary[nn.Module, Tensor]":
        return weakref.WeakKeyDictionary()

    def _augment(self, augment: bool | str) -> Augment:
        return self.definition.data.augment if augment is True else augment

    def validation_batches(self) -> BatchSource:
        """The validation split."""
        return self.data.batches(self.data.validation, _EVALUATION_BATCH)

    def meter(self) -> Meter:
        """A new meter of compute, in epochs of the baseline's training."""
        return Meter.of(len(self.data.train), self.costs.full.macs, self.inputs)

    def choose_arithmetic(self, network: nn.Module) -> Choice:
        """What the study's networks are to train in, by `[trial]` and by timing a few steps of this one."""
        table = self.definition.trial
        return choose(
            network,
            self.calibration_batches[0],
            self.task,
            precision=table.precision,
            memory_format=table.memory_format,
            device=training_device(table.device),
        )

    @cached_property
    def glance(self) -> list[tuple[Any, Any]]:
        """The validation split's first examples, enough to see whether its loss improves."""
        return list(self.data.batches(self.data.validation.first(_GLANCE), _EVALUATION_BATCH))

    @cached_property
    def calibration_batches(self) -> list[tuple[Any, Any]]:
        """Unaugmented training examples that branches are initialised from."""
        first = self.data.train.first(self.definition.trial.calibration_examples)
        return list(self.data.batches(first, self.definition.trial.batch_size))

    @cached_property
    def recalibration_batches(self) -> list[tuple[Any, Any]]:
        """Unaugmented training batches that BatchNorm statistics are recomputed on."""
        trial = self.definition.trial
        last = self.data.train.last(trial.recalibration_batches * trial.batch_size)
        return list(self.data.batches(last, trial.batch_size, drop_last=len(last) >= trial.batch_size))


def opened_data(definition: Definition) -> Opened:
    """A study's data, of which no example is in memory yet.

    Raises:
        DataError: if they are not there, or are none.
    """
    shape = default_input_shape(definition.model.factory, definition.model.arguments)
    size = None if shape is None else (shape[1], shape[2])
    return open_data(definition.data, seed=definition.study.seed, size=size)


def arranged_for(network: nn.Module) -> Callable[[Any], Any]:
    """Makes inputs by name the arguments of the network's forward in order; others stay."""
    return lambda inputs: arguments(inputs, network) if isinstance(inputs, dict) else inputs


def _stated(definition: Definition) -> Normalisation | None:
    """What torchvision or timm state for the weights that the study begins with, or is said to normalise by."""
    weights = definition.baseline.weights
    if weights is None and definition.data.normalisation != "weights":
        return None
    found = stated_normalisation(definition.model.factory, weights or "DEFAULT")
    return None if found is None else Normalisation(*found)


def _checked_by(task: Task) -> Check:
    """A check of targets by what the problem takes."""

    def check(targets: Any, part: str) -> None:
        if wrong := task.wrong_targets(targets):
            raise DataError(f"targets of the {part} split: {wrong}")

    return check


def _check_training(definition: Definition, task: Task) -> None:
    """Checks that the task's loss knows all that is searched of it.

    Raises:
        StudyError: if not.
    """
    smoothed = {
        "baseline.label_smoothing": definition.baseline.label_smoothing != 0,
        "space.training.label_smoothing": definition.space.training.label_smoothing != Fixed(0.0),
    }
    for key in (key for key, is_smoothed in smoothed.items() if is_smoothed and not task.smooths_labels):
        raise definition.mistake(key, f"{key} must be 0: task {definition.task.name!r} has no labels to smooth")


def _check_fit(network: nn.Module, problem: Problem) -> None:
    """Checks loss and metric of an untrained network on a few validation examples.

    Raises:
        StudyError: if its outputs are not what the problem takes.
        DataError: if targets are not.
    """
    inputs, given = next(iter(problem.data.batches(problem.data.validation.first(2), 2)))
    with evaluating(network):
        outputs = network(*placed(inputs, network))
    targets = problem.task.targets(inputs, given)
    _checked_by(problem.task)(given, problem.data.validation.name)
    if wrong := problem.task.misfit(outputs, targets):
        raise StudyError(f"model.factory = {problem.definition.model.factory!r} {wrong}")
    with preserving_modes(network), torch.enable_grad():
        network.eval()
        loss = problem.task.loss(network(*placed(inputs, network)), targets)
    if not loss.requires_grad:
        raise StudyError(
            f"the loss of task {problem.definition.task.name!r} has no gradient: it must follow from the outputs by "
            f"torch's own operations, without detach, numpy or item"
        )
    judge = problem.task.judge()
    judge.add(outputs, targets)


def _classes(logits: Any, opened: Opened, definition: Definition) -> int:
    """How many classes network and data have.

    Raises:
        StudyError: if the network has no output for each.
    """
    name, expected = definition.data.name, opened.num_classes
    known = isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == 2
    if known and expected in (None, logits.shape[1]):
        return int(logits.shape[1])
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if expected is None:
        raise StudyError(
            f"model.factory = {definition.model.factory!r} gives {shape} for two examples of {name}: classification "
            f"needs one number for each class"
        )
    raise StudyError(
        f"model.factory = {definition.model.factory!r} gives {shape} for two images of {name}, "
        f"which has {expected} classes: set model.num_classes = {expected}"
    )


def new_network(definition: Definition) -> nn.Module:
    """The study's network, untrained; its weights depend on the study's seed.

    Raises:
        NetworkError: if it cannot be built.
    """
    torch.manual_seed(definition.study.seed)
    return build_network(definition.model.factory, definition.model.arguments)
