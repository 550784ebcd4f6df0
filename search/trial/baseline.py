"""The network that a study prunes: trained once, or read from a checkpoint."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ...models.checkpoints import NetworkDescription, save_network
from ...models.weights import fill, read_weights
from ...studies.definition.reading import Definition
from ..events import BaselineEpoch, Listener
from ..training.classifier import Classifier, fit
from .measurement import accuracy_of
from .task import Task, new_network


def make_baseline(task: Task, path: Path, tell: Listener) -> dict[str, Any]:
    """Trains the baseline or reads its checkpoint, writes it to `path`, and returns what is to be known of it.

    Raises:
        NetworkError: if the checkpoint is missing, damaged, or of another network.
    """
    table = task.definition.baseline
    if table.checkpoint is not None:
        network = from_checkpoint(task.definition, table.checkpoint)
    else:
        network = new_network(task.definition)
        train(network, task, tell)
    accuracy = accuracy_of(network, task.validation_batches())
    save_network(network, path, describe(task, {}, accuracy, {"baseline": True}))
    return {
        "accuracy": accuracy,
        "examples": len(task.data.validation),
        "macs": task.costs.full.macs,
        "parameters": task.costs.full.parameters,
        "source": table.checkpoint or f"{table.epochs} epochs",
    }


def from_checkpoint(definition: Definition, path: str) -> nn.Module:
    """The study's network with the weights of a file.

    Raises:
        NetworkError: if the file is missing, damaged, or of another network.
    """
    network = new_network(definition)
    fill(network, read_weights(Path(path)), path, definition.model.factory)
    return network


def train(network: nn.Module, task: Task, tell: Listener) -> None:
    """Trains the full network as the definition's `[baseline]` says."""
    table, seed = task.definition.baseline, task.definition.study.seed
    assert table.epochs is not None
    torch.manual_seed(seed)
    batches = task.training_batches(table.batch_size, seed=seed)
    module = Classifier(network, lr=table.lr, weight_decay=table.weight_decay, total_steps=table.epochs * len(batches))
    fit(module, batches, epochs=table.epochs, callbacks=[_Report(task, table.epochs, tell)])


def describe(task: Task, widths: dict[str, int], accuracy: float, origin: dict[str, Any]) -> NetworkDescription:
    """The description of a network of this study, with its validation accuracy."""
    full = {group.name: group.width for group in task.costs.groups}
    return NetworkDescription(
        factory=task.definition.model.factory,
        arguments=task.definition.model.arguments,
        input_shape=list(task.data.input_shape),
        widths={name: width for name, width in widths.items() if width < full[name]},
        data={"name": task.data.name, "mean": list(task.data.mean), "std": list(task.data.std)},
        accuracies=[
            {
                "split": "validation",
                "accuracy": accuracy,
                "examples": len(task.data.validation),
                "seed": task.definition.study.seed,
            }
        ],
        origin={"study": task.definition.study.name, **origin},
    )


class _Report(pl.Callback):
    def __init__(self, task: Task, epochs: int, tell: Listener) -> None:
        self.task, self.epochs, self.tell = task, epochs, tell

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        accuracy = accuracy_of(pl_module.network, self.task.validation_batches())
        self.tell(BaselineEpoch(trainer.current_epoch + 1, self.epochs, pl_module.mean_loss, accuracy))
