"""What is recorded of a candidate: what predicts, from its initialised network, and what training made of it."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from branchfold.models.layers.copying import deep_copy
from branchfold.search.run.screening.sprint import sprinted
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Training
from branchfold.search.trial.problem import Problem
from branchfold.search.trial.trial import delivered, initialised

from .candidates import Candidate
from .problems import Subject, outputs_of

# Steps of the sprints, and of the training that they are to predict.
SPRINTS = (15, 40)
STEPS = 200
_TRAINING = Training(lr=0.02, augment=False)
_SPRINT_SEED = 77


def judged(outputs: Tensor, problem: Problem, teacher: Tensor | None = None) -> dict[str, float]:
    """Loss and accuracy of outputs (N, classes) and, with a teacher's outputs, how far they are from those."""
    labels = torch.cat([labels for _, labels in problem.validation_batches()])
    found = {
        "loss": float(F.cross_entropy(outputs, labels)),
        "accuracy": float((outputs.argmax(1) == labels).double().mean()),
    }
    if teacher is not None:
        logs = F.log_softmax(outputs, 1)
        found["divergence"] = float(F.kl_div(logs, F.log_softmax(teacher, 1), log_target=True, reduction="batchmean"))
        apart = (outputs - outputs.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
        found["logits"] = float(apart.square().mean())
        found["agreement"] = float((outputs.argmax(1) == teacher.argmax(1)).double().mean())
    return found


def predictors(subject: Subject, widths: dict[str, int], equal: Mapping[str, int]) -> dict[str, Any]:
    """Everything that may predict what widths train to, from the images that predictors see."""
    begun, seen = time.process_time(), subject.seen
    network = initial(subject.seen, subject, widths)
    found: dict[str, Any] = {"seconds": {"initialised": time.process_time() - begun}}
    found["untrained"] = judged(outputs_of(network, seen), seen, subject.taught)
    found["untrained on few"] = judged(outputs_of(initial(subject.few, subject, widths), seen), seen, subject.taught)
    found["training images"] = _training_loss(network, subject)
    for steps in SPRINTS:
        begun = time.process_time()
        after = sprinted(deep_copy(network), seen, _TRAINING, steps=steps, seed=_SPRINT_SEED)
        found[f"{steps} steps"] = judged(outputs_of(after, seen), seen, subject.taught)
        found["seconds"][f"{steps} steps"] = time.process_time() - begun
    ratios = [math.log(widths[name] / equal[name]) for name in widths]
    found["unevenness"] = math.sqrt(sum(ratio**2 for ratio in ratios) / len(ratios))
    found["narrowest"] = min(ratios)
    found["parameters"] = subject.whole.costs.cost(widths).parameters
    found["macs"] = subject.whole.costs.cost(widths).macs / subject.whole.costs.full.macs
    return found


def trained(subject: Subject, widths: dict[str, int], seed: int) -> dict[str, Any]:
    """What the training makes of the widths, on the images that judge."""
    begun = time.process_time()
    network = initial(subject.seen, subject, widths)
    after = sprinted(network, subject.seen, _TRAINING, steps=STEPS, seed=seed)
    return {**judged(outputs_of(after, subject.judging), subject.judging), "seconds": time.process_time() - begun}


def initial(problem: Problem, subject: Subject, widths: dict[str, int]) -> nn.Module:
    """The folded network with these widths, not trained."""
    recipe = Recipe(shape="instant", parameters={}, fade=0.0, widths=widths, training=_TRAINING)
    return delivered(initialised(recipe, subject.baseline, problem), problem)


def _training_loss(network: nn.Module, subject: Subject) -> dict[str, float]:
    """Of the images that the branches were initialised from."""
    outputs, labels = [], []
    with torch.no_grad():
        for images, given in subject.seen.calibration_batches:
            outputs.append(network(images))
            labels.append(given)
    return {"loss": float(F.cross_entropy(torch.cat(outputs), torch.cat(labels)))}


class Records:
    """Lines of a file, one for each piece of work that is done."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.file = subject, subject.folder / "records.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, number: int, kind: str) -> bool:
        """Whether it is done."""
        return any(row["candidate"] == number and row["kind"] == kind for row in self.rows)

    def record(self, number: int, candidate: Candidate, equal: Mapping[str, int], kind: str) -> None:
        """Does one piece, unless it is done: "predictors", or "seed 0" and so on for a training."""
        if self.has(number, kind):
            return
        if kind == "predictors":
            found = predictors(self.subject, candidate.widths, equal)
        else:
            found = trained(self.subject, candidate.widths, int(kind.removeprefix("seed ")))
        row = {"candidate": number, "origin": candidate.origin, "kind": kind, **found}
        self.rows.append(row)
        with self.file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        told = found.get("untrained", found)
        print(time.strftime("%H:%M:%S"), self.subject.name, number, candidate.origin, kind, told, flush=True)
