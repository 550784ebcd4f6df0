"""What leaves a study: a trial's network as a file, with its accuracy on the test split; what a file is worth."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial
from torch import nn

from ...errors import DataError
from ...models.checkpoints import NetworkDescription, load_network, read_description
from ...models.cost import CostModel, count_macs
from ...models.networks.factories import resolve_factory
from ...studies.database.artifacts import artifact_store, fetch_network
from ...studies.database.trials import finished_trials
from ...studies.definition.reading import Definition
from ...studies.statistics import Interval, wilson
from ..data.batches import Batches, Split
from ..data.splits import load_test
from ..trial.latency import Latency, compare_latency
from ..trial.measurement import accuracy_of
from .formats import format_of

_BATCH = 500
# Of a measurement of latency: an export may take longer than a trial's.
_LATENCY_SECONDS = 1.0


@dataclass(frozen=True)
class Evaluation:
    """What was measured of an exported network.

    Attributes:
        accuracy: share of the test split's examples that it classifies correctly.
        split: name of the split.
        examples: how many it has.
        seed: of the study that the network comes from; the test split does not depend on it.
        macs: of one example's forward pass.
        parameters: their number.
        full_macs: the network's before it was narrowed.
        full_parameters: likewise.
        latency: of one example's forward pass, in turn with the network's before it was narrowed.
    """

    accuracy: float
    split: str
    examples: int
    seed: int | None
    macs: int
    parameters: int
    full_macs: int
    full_parameters: int
    latency: Latency

    @property
    def interval(self) -> Interval:
        """The accuracy's 95 % confidence interval: nothing was chosen by the test split."""
        return wilson(self.accuracy, self.examples)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON types."""
        latency = self.latency._asdict()
        milliseconds = latency.pop("milliseconds")
        return {**asdict(self), "interval": list(self.interval), "milliseconds": milliseconds, "latency": latency}


def export_trial(
    study: optuna.Study,
    definition: Definition,
    url: str,
    trial: FrozenTrial,
    path: Path,
    form: str = "safetensors",
    *,
    among: int | None = None,
) -> Evaluation:
    """Writes a trial's network with its test accuracy to `path`, and returns what was measured.

    Args:
        study: the study.
        definition: with the data root to use.
        url: of the study's database; its artifacts lie beside it.
        trial: a finished trial.
        path: where to; a file there is replaced.
        form: a name in `names.EXPORT_FORMATS`.
        among: how many the trial was selected from; all finished ones of the study if not given.

    Raises:
        StudyError: if the trial kept no network.
        NetworkError: if its file is damaged or `path` cannot be written.
        DataError: if the test split cannot be had.
    """
    network, description = _fetched(study, definition, url, trial)
    evaluation = _evaluate(network, description, resolve_factory(definition.model.factory), definition.data.root)
    # Nothing is said of its spread: the accuracy of the best of many is too high.
    selected = {"selected_among": len(finished_trials(study)) if among is None else among}
    accuracies = [
        {**entry, **selected} if entry.get("split") == "validation" else entry for entry in description.accuracies
    ]
    tested = {"split": "test", "accuracy": evaluation.accuracy, "examples": evaluation.examples}
    accuracies.append({**tested, "interval": list(evaluation.interval), "seed": evaluation.seed})
    format_of(form).write(network, path, replace(description, accuracies=accuracies))
    return evaluation


def trial_on_test(study: optuna.Study, definition: Definition, url: str, trial: FrozenTrial) -> float:
    """The accuracy of a trial's network on the test split; arguments and errors as for `export_trial`."""
    network, description = _fetched(study, definition, url, trial)
    return accuracy_on_test(network, description, definition.data.root)


def evaluate_file(path: Path, data_root: str, factory: str | None) -> tuple[NetworkDescription, Evaluation]:
    """Loads an exported network and measures it on the test split of the data that it was trained on.

    Args:
        path: a safetensors file that branchfold wrote.
        data_root: folder of the data set.
        factory: the user's own factory, where the network is neither a reference network nor torchvision's.

    Raises:
        NetworkError: if the file is damaged or its network cannot be rebuilt.
        DataError: if the test split cannot be had.
    """
    description = read_description(path)
    network = load_network(path, factory)
    build = resolve_factory(factory or description.factory)
    return description, _evaluate(network, description, build, data_root)


def _fetched(
    study: optuna.Study, definition: Definition, url: str, trial: FrozenTrial
) -> tuple[nn.Module, NetworkDescription]:
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        kept = fetch_network(study, trial, artifact_store(url), Path(folder) / "network.safetensors")
        return load_network(kept, resolve_factory(definition.model.factory)), read_description(kept)


def _evaluate(
    network: nn.Module, description: NetworkDescription, factory: Callable[..., nn.Module], data_root: str
) -> Evaluation:
    data = description.data
    _check_origin(description)
    split = load_test(str(data["name"]), data_root)
    example = torch.zeros(1, *description.input_shape)
    dtype = next(network.parameters()).dtype
    whole = factory(**description.arguments)
    full = CostModel(whole, example).full
    latency = compare_latency(network, whole.to(dtype), example.to(dtype), seconds=_LATENCY_SECONDS)
    return Evaluation(
        accuracy=_accuracy_on(split, network, data),
        split=split.name,
        examples=len(split),
        seed=next((entry.get("seed") for entry in description.accuracies), None),
        macs=count_macs(network, (example.to(dtype),)),
        parameters=sum(p.numel() for p in network.parameters()),
        full_macs=full.macs,
        full_parameters=full.parameters,
        latency=latency,
    )


def _check_origin(description: NetworkDescription) -> None:
    data = description.data
    if not isinstance(data, dict) or not {"name", "mean", "std"} <= data.keys():
        raise DataError("the checkpoint does not say which data it was trained on")
    whole = all(isinstance(data[key], list) and all(isinstance(x, float) for x in data[key]) for key in ("mean", "std"))
    if not whole or 0.0 in data["std"]:
        raise DataError(f"the checkpoint's mean and std are damaged: {data['mean']!r:.40}, {data['std']!r:.40}")
    if not isinstance(description.accuracies, list) or not all(isinstance(x, dict) for x in description.accuracies):
        raise DataError(f"the checkpoint's accuracies are damaged: {description.accuracies!r:.40}")


def accuracy_on_test(network: nn.Module, description: NetworkDescription, data_root: str) -> float:
    """A network's accuracy on the test split of the data that it was trained on.

    Raises:
        DataError: if the split cannot be had.
    """
    return _accuracy_on(load_test(str(description.data["name"]), data_root), network, description.data)


def _accuracy_on(split: Split, network: nn.Module, data: dict[str, Any]) -> float:
    batches = Batches(split, _BATCH, mean=data["mean"], std=data["std"], shuffle=False, augment=False, seed=0)
    dtype = next(network.parameters()).dtype
    return accuracy_of(network, ((images.to(dtype), labels) for images, labels in batches))
