"""The network that a study prunes: trained once, or read from a checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ...errors import StudyError
from ...models.checkpoints import NetworkDescription, save_network
from ...models.layers.modes import evaluating
from ...models.tracing.inputs import tensors_of
from ...models.weights import fill, read_weights
from ...studies.database.trials import with_metric
from ...studies.definition.reading import Definition
from ...studies.metric import Metric
from ...studies.statistics import Interval
from ..events import BaselineEpoch, BaselineReady, BaselineStarted, Listener
from ..tasks.calls import called, moved
from ..training.fitting import BaselineTraining, fit
from .measurement import judged, metric_of
from .task import Task, new_network


def make_baseline(task: Task, path: Path, notify: Listener) -> dict[str, Any]:
    """Trains the baseline or reads its checkpoint, writes it to `path`, and returns what is to be known of it.

    Raises:
        StudyError: if it diverged, or training left one class for all examples.
        NetworkError: if the checkpoint is missing, damaged, or of another network.
    """
    table = task.definition.baseline
    if table.checkpoint is not None:
        network = from_checkpoint(task.definition, table.checkpoint)
    else:
        network = new_network(task.definition)
        assert table.epochs is not None
        notify(BaselineStarted(table.epochs))
        train(network, task, notify)
    check_alive(network, task)
    found, metric, examples = (
        judged(network, task.validation_batches(), task.goal),
        task.goal.metric,
        len(task.data.validation),
    )
    interval = metric.interval(found.value, examples, None if found.scores is None else found.scores.numpy())
    save_network(network, path, describe(task, {}, found.value, {"baseline": True}, interval=interval))
    return {
        "metric": found.value,
        "interval": interval,
        "examples": examples,
        "macs": task.costs.full.macs,
        "parameters": task.costs.full.parameters,
        "source": table.checkpoint or f"{table.epochs} epochs",
    }


def baseline_ready(record: Mapping[str, Any], metric: Metric) -> BaselineReady:
    """What is told of a baseline; of one that an earlier version recorded, too, which measured accuracy.

    Args:
        record: that `make_baseline` returned.
        metric: of the study.
    """
    known = with_metric(record)
    value, examples = float(known["metric"]), int(known["examples"])
    interval = known["interval"] if "interval" in known else metric.interval(value, examples, None)
    kept = {key: known[key] for key in ("examples", "macs", "parameters", "source")}
    return BaselineReady(metric=value, interval=None if interval is None else tuple(interval), **kept)


def from_checkpoint(definition: Definition, path: str) -> nn.Module:
    """The study's network with the weights of a file.

    Raises:
        NetworkError: if the file is missing, damaged, or of another network.
    """
    network = new_network(definition)
    fill(network, read_weights(Path(path)), path, definition.model.factory)
    return network


def check_alive(network: nn.Module, task: Task) -> None:
    """Checks that there is something to prune: without it every trial is worthless, and that shows long after.

    A network of low accuracy passes: where classes are of unequal size it may be below always the same answer. So does
    a checkpoint that gives one, since it may be what the user means to begin with.

    Raises:
        StudyError: if outputs on the validation split are not finite, or training left one class for all examples.
    """
    table, classes = task.definition.baseline, set[int]()
    trained = table.checkpoint is None
    device = next(network.parameters()).device
    with evaluating(network):
        for inputs, _ in task.validation_batches():
            outputs = called(network, moved(inputs, device))
            if not all(bool(tensor.isfinite().all()) for tensor in tensors_of(outputs)):
                raise StudyError(
                    f"the trained baseline's outputs are not finite; lower baseline.lr = {table.lr:g}"
                    if trained
                    else f"the outputs of checkpoint {table.checkpoint!r} are not finite; give another one"
                )
            classes |= task.goal.classes(outputs)
    if trained and len(classes) == 1 and len(task.data.validation.labels.unique()) > 1:
        raise StudyError(
            f"the trained baseline gives all {len(task.data.validation)} validation examples the same class; "
            f"lower baseline.lr = {table.lr:g} or raise baseline.epochs"
        )


def train(network: nn.Module, task: Task, notify: Listener) -> None:
    """Trains the full network as the definition's `[baseline]` says."""
    table, seed = task.definition.baseline, task.definition.study.seed
    assert table.epochs is not None
    torch.manual_seed(seed)
    batches = task.training_batches(table.batch_size, seed=seed)
    steps = table.epochs * len(batches)
    module = BaselineTraining(network, task.goal, lr=table.lr, weight_decay=table.weight_decay, total_steps=steps)
    fit(module, batches, epochs=table.epochs, callbacks=[_Report(task, table.epochs, notify)])


def describe(
    task: Task, widths: dict[str, int], value: float, origin: dict[str, Any], *, interval: Interval | None = None
) -> NetworkDescription:
    """The description of a network of this study, with its metric on the validation split.

    Args:
        task: the study's.
        widths: group → channels.
        value: of the metric.
        origin: where in the study it comes from.
        interval: of the value, where the validation split does not choose among such networks.
    """
    full = {group.name: group.width for group in task.costs.groups}
    return NetworkDescription(
        factory=task.definition.model.factory,
        arguments=task.definition.model.arguments,
        input_shape=list(task.data.input_shape),
        widths={name: width for name, width in widths.items() if width < full[name]},
        data={"name": task.data.name, "mean": list(task.data.mean), "std": list(task.data.std)},
        metrics=[
            {
                "split": "validation",
                "metric": task.goal.metric.name,
                "value": value,
                "examples": len(task.data.validation),
                **({} if interval is None else {"interval": list(interval)}),
                "seed": task.definition.study.seed,
            }
        ],
        task={
            "name": task.definition.task.name,
            "arguments": task.definition.task.arguments,
            "num_classes": task.data.num_classes,
        },
        origin={"study": task.definition.study.name, **origin},
    )


class _Report(pl.Callback):
    def __init__(self, task: Task, epochs: int, notify: Listener) -> None:
        self.task, self.epochs, self.notify = task, epochs, notify

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BaselineTraining)
        if not math.isfinite(pl_module.mean_loss):
            lr = self.task.definition.baseline.lr
            raise StudyError(
                f"the baseline diverged in epoch {trainer.current_epoch + 1}: its training loss is "
                f"{pl_module.mean_loss}; lower baseline.lr = {lr:g}"
            )
        value = metric_of(pl_module.network, self.task.validation_batches(), self.task.goal)
        self.notify(BaselineEpoch(trainer.current_epoch + 1, self.epochs, pl_module.mean_loss, value))
