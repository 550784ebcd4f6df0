"""The networks and data on which predictors are compared; one part of the images held out judges what was trained."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from branchfold.models.checkpoints import load_network
from branchfold.search.data.splits import ImageData
from branchfold.search.space import SearchSpace
from branchfold.search.training.arithmetic import Arithmetic
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import load_definition

# Share of the MACs that all candidates have.
MACS = 0.12
# Of the published training images: to train on, and held out.
TRAIN, HELD_OUT = 20_000, 10_000
# Of those held out: what predictors see. The others judge what was trained.
SEEN = 3000
# Few and many images that branches are initialised from.
FEW, MANY = 256, 1024
SUBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fashion-mnist": ("fashion-mnist", ("model.width=0.25", "baseline.epochs=4", "data.validation=0.2")),
    "cifar10": ("vgg16-cifar10", ("model.width=0.25", "baseline.epochs=4", "data.validation=0.2")),
    "resnet20": (
        "vgg16-cifar10",
        ('model.factory="resnet20"', "model.width=0.5", "baseline.epochs=4", "data.validation=0.2"),
    ),
}


@dataclass(frozen=True)
class Subject:
    """A network with its data.

    Attributes:
        name: in `SUBJECTS`.
        work: folder of what is kept.
        data_root: of CIFAR-10.
    """

    name: str
    work: Path
    data_root: str

    @property
    def folder(self) -> Path:
        """Of what is kept of this subject."""
        folder = self.work / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def whole(self) -> Problem:
        """With all images that are held out."""
        study, overrides = SUBJECTS[self.name]
        common = [
            f"data.root={json.dumps(self.data_root)}",
            f"data.limit={TRAIN}",
            f"study.budget={{macs = {MACS}}}",
            "trial.compute=0.3",
            f"trial.calibration_examples={MANY}",
        ]
        problem = Problem.of(load_definition(study, [*overrides, *common]))
        record = self.folder / "baseline.json"
        if not record.exists():
            return problem
        return replace(problem, arithmetic=Arithmetic.of(json.loads(record.read_text())))

    @cached_property
    def seen(self) -> Problem:
        """With those images held out that predictors see."""
        return self._with(slice(0, SEEN))

    @cached_property
    def judging(self) -> Problem:
        """With those that judge what was trained."""
        return self._with(slice(SEEN, None))

    @cached_property
    def few(self) -> Problem:
        """What predictors see, with few images for the initialisation."""
        definition = self.whole.definition
        table = definition.trial.model_copy(update={"calibration_examples": FEW})
        return replace(self.seen, definition=definition.model_copy(update={"trial": table}))

    @cached_property
    def space(self) -> SearchSpace:
        """Of the widths."""
        return SearchSpace(self.whole.definition, self.whole.costs, errors=dict)

    @cached_property
    def baseline(self) -> nn.Module:
        """The trained network, trained now unless it is kept."""
        file = self.folder / "baseline.safetensors"
        if not file.exists():
            new = self.folder / "new.safetensors"
            record = make_baseline(self.whole, new, print)
            (self.folder / "baseline.json").write_text(json.dumps(record))
            new.rename(file)
            del self.__dict__["whole"]  # its arithmetic is known now
        return load_network(file).eval()

    @cached_property
    def taught(self) -> Tensor:
        """The baseline's logits (SEEN, classes) of what predictors see."""
        return outputs_of(self.baseline, self.seen)

    def _with(self, chosen: slice) -> Problem:
        data: Any = self.whole.data
        assert isinstance(data, ImageData)
        return replace(self.whole, data=replace(data, validation=data.validation.part(chosen)))


def outputs_of(network: nn.Module, problem: Problem) -> Tensor:
    """A network's logits for a problem's validation split."""
    import torch

    with torch.no_grad():
        return torch.cat([network.eval()(images) for images, _ in problem.validation_batches()])
