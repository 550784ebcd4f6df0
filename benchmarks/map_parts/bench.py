"""One baseline with its data, and what becomes of it by a recipe at a cell's length."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from branchfold.benchmarks.baselines import kept_baseline
from branchfold.benchmarks.judging import test_batches
from branchfold.models.branches.folding.folding import fold
from branchfold.models.layers.copying import deep_copy
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.training.compute import Length
from branchfold.search.training.fading import BranchTraining, Fold
from branchfold.search.training.fitting import fit
from branchfold.search.training.states import seed_random
from branchfold.search.trial.measurement import judged, metric_of
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.trial import delivered, initialised
from branchfold.studies.definition.keys import Budget
from branchfold.studies.definition.reading import Definition, load_definition

from .cells import Cell


class Outcome(NamedTuple):
    """What a run left.

    Attributes:
        network: folded.
        compute: it took, in epochs of the baseline's training on all images.
        steps: it took.
        seconds: it took here.
    """

    network: nn.Module
    compute: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Setting:
    """What defines the baselines.

    Attributes:
        study: a built-in study's name or a TOML file.
        overrides: of its keys.
        folder: of baselines and runs.
    """

    study: str
    overrides: tuple[str, ...]
    folder: Path

    def definition(self, baseline: int) -> Definition:
        """The study with this seed."""
        return load_definition(self.study, [*self.overrides, f"study.seed={baseline}"])


class Bench:
    """A baseline, trained now unless it is there; its split of the data follows from the same seed.

    Args:
        setting: of the map.
        baseline: its seed.
    """

    def __init__(self, setting: Setting, baseline: int) -> None:
        plain = Problem.of(setting.definition(baseline))
        self.network, self.problem = kept_baseline(plain, setting.folder / f"baseline-{baseline}.safetensors")
        self._parts: dict[int, Problem] = {}
        self._fitted: tuple[tuple[Any, ...], nn.Module] | None = None

    def part(self, images: int) -> Problem:
        """The same problem with the first so many training images, which are as many of each class."""
        if images not in self._parts:
            data = self.problem.data
            chosen = replace(data, train=data.train.first(images))  # type: ignore[type-var]
            self._parts[images] = replace(self.problem, data=chosen)
        return self._parts[images]

    def widths(self, budget: float) -> dict[str, int]:
        """Widths of this share of the MACs, the same share of every group's channels."""
        definition = self.problem.definition
        limited = definition.study.model_copy(update={"budget": Budget(macs=budget)})
        space = SearchSpace(definition.model_copy(update={"study": limited}), self.problem.costs, errors=dict)
        return space.widths(dict.fromkeys(space.full, 1.0))

    @property
    def full(self) -> dict[str, int]:
        """Channels of the baseline's groups that can be narrowed."""
        return {group.name: group.width for group in self.problem.costs.groups if group.prunable}

    def run(self, recipe: Recipe, cell: Cell, seed: int, *, folding: Fold = fold) -> Outcome:
        """Prunes the baseline; what fits branches and computes the teacher's outputs once is not counted.

        Args:
            recipe: of the run.
            cell: whose length, images and branches it has.
            seed: of everything random in it.
            folding: what folds groups whose α is 0.
        """
        seed_random(seed)
        began, problem, training = time.monotonic(), self.part(cell.images), recipe.training
        start = self._start(recipe, problem, cell)
        taught = problem.taught(self.network, training.augment) if training.distillation > 0 else None
        batches = problem.training_batches(
            problem.definition.trial.batch_size, seed=seed, augment=training.augment, known=taught
        )
        meter = self.problem.meter()  # whose unit is an epoch on all images
        by_compute = cell.currency == "compute"
        length = Length(
            meter,
            steps=0 if by_compute else round(cell.length * len(batches)),
            compute=cell.length if by_compute else None,
        )
        module = BranchTraining(
            start.train(),
            recipe,
            problem.task,
            fold=folding,
            length=length,
            arithmetic=problem.arithmetic,
            teacher=self.network if training.distillation > 0 and taught is None else None,
        )
        fit(module, batches, epochs=-1, callbacks=[], arithmetic=problem.arithmetic, device="cpu")
        network = delivered(module.network, problem)
        return Outcome(network, meter.spent, length.taken, time.monotonic() - began)

    def _start(self, recipe: Recipe, problem: Problem, cell: Cell) -> nn.Module:
        """The branched network; what least squares gave is kept for the next run, since no seed changes it."""
        if recipe.method != "least-squares":
            return initialised(recipe, self.network, problem)
        key = (cell.budget, cell.images)
        if self._fitted is None or self._fitted[0] != key:
            self._fitted = key, initialised(recipe, self.network, problem)
        return deep_copy(self._fitted[1])

    def validation(self, network: nn.Module) -> float:
        """Accuracy on the whole validation split, whatever images pruning may use."""
        return metric_of(network, self.problem.validation_batches(), self.problem.task)

    def right(self, network: nn.Module) -> npt.NDArray[np.bool_]:
        """(10,000,) whether each test example is right."""
        scores = judged(network, test_batches(self.problem), self.problem.task).array
        assert scores is not None
        return scores > 0
