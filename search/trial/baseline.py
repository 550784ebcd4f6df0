"""The network that a study prunes: trained once, or read from a checkpoint."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ...errors import StudyError
from ...models.checkpoints import NetworkDescription, save_network
from ...models.examples import described, placed
from ...models.layers.modes import evaluating
from ...models.networks.pretrained import load_published
from ...models.weights import fill, read_weights
from ...studies.definition.reading import Definition
from ...studies.statistics import wilson
from ..events import BaselineEpoch, BaselineStarted, Listener, Notice
from ..training.classifier import Classifier, fit
from .measurement import accuracy_of
from .task import Task, new_network


def make_baseline(task: Task, path: Path, notify: Listener) -> dict[str, Any]:
    """Trains the baseline or reads its weights, writes it to `path`, and returns what is to be known of it.

    Raises:
        StudyError: if it diverged, or training left one class for all examples.
        NetworkError: if the checkpoint is missing, damaged, or of another network.
    """
    table = task.definition.baseline
    network = first_network(task.definition)
    if table.epochs is not None:
        notify(BaselineStarted(table.epochs))
        train(network, task, notify)
    labels = check_alive(network, task)
    accuracy = accuracy_of(network, task.validation_batches())
    if (line := at_chance(accuracy, labels, task)) is not None:
        notify(Notice(line))
    save_network(network, path, describe(task, {}, accuracy, {"baseline": True}, chosen=False))
    return {
        "accuracy": accuracy,
        "examples": len(task.data.validation),
        "macs": task.costs.full.macs,
        "parameters": task.costs.full.parameters,
        "source": source_of(task.definition),
    }


def first_network(definition: Definition) -> nn.Module:
    """The study's network with the weights of its checkpoint, with published ones, or untrained.

    Raises:
        NetworkError: if the checkpoint is missing, damaged, or of another network, or the weights cannot be had.
    """
    table, model = definition.baseline, definition.model
    network = new_network(definition)
    if table.checkpoint is not None:
        fill(network, read_weights(Path(table.checkpoint)), table.checkpoint, model.factory)
    if table.weights is not None:
        untrained = load_published(network, model.factory, model.arguments, table.weights)
        if untrained and table.epochs is None:
            raise StudyError(
                f"baseline.weights = {table.weights!r} of {model.factory} have other shapes or no values for "
                f"{', '.join(untrained)}: give baseline.epochs too, to train the network from them"
            )
    return network


def source_of(definition: Definition) -> str:
    """Where a study's baseline comes from, for people."""
    table = definition.baseline
    parts = [table.checkpoint] if table.checkpoint else []
    parts += [f"weights {table.weights}"] if table.weights else []
    parts += [f"{table.epochs} epochs"] if table.epochs is not None else []
    return ", ".join(parts)


def at_chance(accuracy: float, labels: Tensor, task: Task) -> str | None:
    """A line about a baseline that is no better than always the same answer; None about a better one.

    Args:
        accuracy: on the validation split.
        labels: (N,) of that split.
        task: the study's.
    """
    share = int(labels.bincount().max()) / len(labels)
    if wilson(accuracy, len(labels)).low > share or len(labels.unique()) < 2:
        return None
    data = task.data
    scaled = "as your own data set gives them"
    if data.mean:
        mean, std = (", ".join(f"{value:.3f}" for value in values) for values in (data.mean, data.std))
        scaled = f"normalised by mean ({mean}) and std ({std}), see data.normalisation"
    return (
        f"the baseline is at chance: it is right in {accuracy:.1%} of the {len(labels)} validation examples, one and "
        f"the same class in {share:.1%}. Was it trained on inputs like these, {scaled}, and on classes in this order?"
    )


def check_alive(network: nn.Module, task: Task) -> Tensor:
    """Checks that there is something to prune, and returns the labels (N,) of the validation split.

    Without it every trial is worthless, and that shows long after.

    A network of low accuracy passes: where classes are of unequal size it may be below always the same answer. So does
    a checkpoint that gives one, since it may be what the user means to begin with.

    Raises:
        StudyError: if outputs on the validation split are not finite, or training left one class for all examples.
    """
    table, classes = task.definition.baseline, set()
    trained, labels = table.epochs is not None, []
    with evaluating(network):
        for inputs, given in task.validation_batches():
            outputs = network(*placed(inputs, network))
            if not bool(outputs.isfinite().all()):
                raise StudyError(
                    f"the trained baseline's outputs are not finite; lower baseline.lr = {table.lr:g}"
                    if trained
                    else f"the outputs of checkpoint {source_of(task.definition)!r} are not finite; give another one"
                )
            classes.update(outputs.argmax(1).tolist())
            labels.append(given)
    found = torch.cat(labels)
    if trained and len(classes) == 1 and len(found.unique()) > 1:
        raise StudyError(
            f"the trained baseline gives all {len(task.data.validation)} validation examples the same class; "
            f"lower baseline.lr = {table.lr:g} or raise baseline.epochs"
        )
    return found


def train(network: nn.Module, task: Task, notify: Listener) -> None:
    """Trains the full network as the definition's `[baseline]` says."""
    table, seed = task.definition.baseline, task.definition.study.seed
    assert table.epochs is not None
    torch.manual_seed(seed)
    batches = task.training_batches(table.batch_size, seed=seed)
    module = Classifier(network, lr=table.lr, weight_decay=table.weight_decay, total_steps=table.epochs * len(batches))
    fit(module, batches, epochs=table.epochs, callbacks=[_Report(task, table.epochs, notify)])


def describe(
    task: Task, widths: dict[str, int], accuracy: float, origin: dict[str, Any], *, chosen: bool = True
) -> NetworkDescription:
    """The description of a network of this study, with its validation accuracy.

    Args:
        task: the study's.
        widths: group → channels.
        accuracy: on the validation split.
        origin: where in the study it comes from.
        chosen: whether the validation split chooses among such networks: without, the accuracy has its interval.
    """
    examples = len(task.data.validation)
    interval = {} if chosen else {"interval": list(wilson(accuracy, examples))}
    full = {group.name: group.width for group in task.costs.groups}
    return NetworkDescription(
        factory=task.definition.model.factory,
        arguments=task.definition.model.arguments,
        input_shape=described(task.inputs),
        widths={name: width for name, width in widths.items() if width < full[name]},
        data=task.described_data(),
        accuracies=[
            {
                "split": "validation",
                "accuracy": accuracy,
                "examples": examples,
                **interval,
                "seed": task.definition.study.seed,
            }
        ],
        origin={"study": task.definition.study.name, **origin},
    )


class _Report(pl.Callback):
    def __init__(self, task: Task, epochs: int, notify: Listener) -> None:
        self.task, self.epochs, self.notify = task, epochs, notify

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if not math.isfinite(pl_module.mean_loss):
            lr = self.task.definition.baseline.lr
            raise StudyError(
                f"the baseline diverged in epoch {trainer.current_epoch + 1}: its training loss is "
                f"{pl_module.mean_loss}; lower baseline.lr = {lr:g}"
            )
        accuracy = accuracy_of(pl_module.network, self.task.validation_batches())
        self.notify(BaselineEpoch(trainer.current_epoch + 1, self.epochs, pl_module.mean_loss, accuracy))
