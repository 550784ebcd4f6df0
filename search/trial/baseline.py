"""The network that a study prunes: trained once, or read from a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from ...errors import StudyError
from ...models.checkpoints import NetworkDescription, save_network
from ...models.examples import described, placed
from ...models.layers.modes import evaluating
from ...models.networks.pretrained import load_published
from ...models.tracing.inputs import tensors_of
from ...models.weights import fill, read_weights
from ...studies.database.trials import with_metric
from ...studies.definition.live import has_given_weights
from ...studies.definition.reading import Definition
from ...studies.metric import Metric
from ...studies.statistics import Interval
from ..events import BaselineEpoch, BaselineReady, BaselineStarted, Listener, Notice
from ..process.quiet import quiet_downloads
from ..training.arithmetic import ARITHMETIC, PLAIN, Arithmetic, Choice
from ..training.checkpoint import Checkpoint, place_of
from ..training.fitting import BaselineTraining, fit
from ..training.passes import Passes
from ..training.states import seed_random
from .chance import at_chance
from .measurement import judged, metric_of
from .problem import Problem, new_network


def make_baseline(
    problem: Problem, path: Path, notify: Listener, checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Trains the baseline or reads its weights, writes it to `path`, and returns what is to be known of it.

    Args:
        problem: the study's.
        path: of the baseline's file.
        notify: receives the progress.
        checkpoint: where the training's state is kept, and one that was stopped goes on.

    Raises:
        StudyError: if it diverged, or training left one class for all examples.
        NetworkError: if the checkpoint is missing, damaged, or of another network.
    """
    table = problem.definition.baseline
    network = first_network(problem.definition)
    state = None if checkpoint is None else checkpoint.load()
    # A training that goes on does so in what it began in: timed anew, another might seem faster.
    chosen = problem.choose_arithmetic(network) if state is None else Choice(Arithmetic.of(state), {})
    problem = replace(problem, arithmetic=chosen.arithmetic)
    if chosen.arithmetic != PLAIN and chosen.seconds:
        notify(Notice(_faster(chosen)))
    before = None
    if table.epochs is not None:
        if not problem.task.stratified:
            before = metric_of(network, problem.validation_batches(), problem.task)
        notify(BaselineStarted(table.epochs))
        train(network, problem, notify, checkpoint)
    check_alive(network, problem)
    found = judged(network, problem.validation_batches(), problem.task)
    _check_metric(found.value, before, problem)
    metric, examples = problem.task.metric, len(problem.data.validation)
    interval = metric.interval(found.value, examples, found.array)
    if (line := at_chance(found.value, interval, problem)) is not None:
        notify(Notice(line))
    save_network(network, path, describe(problem, {}, found.value, {"baseline": True}, interval=interval))
    return {
        "metric": found.value,
        "interval": interval,
        "examples": examples,
        "macs": problem.costs.full.macs,
        "parameters": problem.costs.full.parameters,
        "source": source_of(problem.definition),
        ARITHMETIC: chosen.arithmetic.to_dict(),
    }


def _faster(chosen: Choice) -> str:
    return (
        f"baseline and trials train in {chosen.arithmetic} (trial.precision, trial.memory_format): a step takes "
        f"{chosen.share:.2f} times as long there as in float32"
    )


def baseline_ready(record: Mapping[str, Any], metric: Metric) -> BaselineReady:
    """What is told of a baseline; of one that an earlier version recorded, too, which measured accuracy.

    Args:
        record: that `make_baseline` returned.
        metric: of the study.
    """
    known = with_metric(record)
    value, examples = float(known["metric"]), int(known["examples"])
    interval = known["interval"] if "interval" in known else metric.interval(value, examples, None)
    kept = {key: known.get(key, "") for key in ("examples", "macs", "parameters", "source")}
    return BaselineReady(metric=value, interval=None if interval is None else tuple(interval), **kept)


def first_network(definition: Definition) -> nn.Module:
    """The study's network with the weights of its checkpoint, with published ones, or untrained.

    Raises:
        NetworkError: if the checkpoint is missing, damaged, or of another network, or the weights cannot be had.
    """
    table, model = definition.baseline, definition.model
    network = new_network(definition)
    if table.checkpoint is not None:
        fill(network, read_weights(Path(table.checkpoint)), table.checkpoint, model.factory)
    if table.weights is not None and not has_given_weights(definition):
        with quiet_downloads():
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
    if table.epochs is not None:
        parts.append("1 epoch" if table.epochs == 1 else f"{table.epochs} epochs")
    return ", ".join(parts)


def check_alive(network: nn.Module, problem: Problem) -> None:
    """Checks that there is something to prune.

    Without it every trial is worthless, and that shows long after.

    A network of low accuracy passes: where classes are of unequal size it may be below always the same answer. So does
    a checkpoint that gives one, since it may be what the user means to begin with.

    Raises:
        StudyError: if outputs on the validation split are not finite, or training left one class for all examples.
    """
    table, classes = problem.definition.baseline, set[int]()
    trained, labels = table.epochs is not None, set[int]()
    with evaluating(network):
        for inputs, given in problem.validation_batches():
            outputs = network(*placed(inputs, network))
            if not all(bool(tensor.isfinite().all()) for tensor in tensors_of(outputs)):
                raise StudyError(
                    f"the trained baseline's outputs are not finite; lower baseline.lr = {table.lr:g}"
                    if trained
                    else f"the outputs of checkpoint {source_of(problem.definition)!r} are not finite; give another one"
                )
            if problem.task.stratified:
                classes |= problem.task.classes(outputs)
                labels |= set(given.unique().tolist())
    if trained and len(classes) == 1 and len(labels) > 1:
        raise StudyError(
            f"the trained baseline gives all {len(problem.data.validation)} validation examples the same class; "
            f"lower baseline.lr = {table.lr:g} or raise baseline.epochs"
        )


def _check_metric(value: float, before: float | None, problem: Problem) -> None:
    """Checks that the baseline's metric is a number and, where it was trained, better than before.

    Raises:
        StudyError: if not.
    """
    metric, table = problem.task.metric, problem.definition.baseline
    if not math.isfinite(value):
        raise StudyError(f"the baseline's {metric.name} on the validation split is {value}: no trial could be compared")
    if before is not None and metric.quality(value) <= metric.quality(before):
        raise StudyError(
            f"the trained baseline is no better than before its training: {metric.name} {metric.text(value)} on the "
            f"validation split, {metric.text(before)} then; lower baseline.lr = {table.lr:g} or raise baseline.epochs"
        )


def train(network: nn.Module, problem: Problem, notify: Listener, checkpoint: Checkpoint | None = None) -> None:
    """Trains the full network as the definition's `[baseline]` says; arguments as for `make_baseline`."""
    table, seed = problem.definition.baseline, problem.definition.study.seed
    assert table.epochs is not None
    seed_random(seed)
    state = None if checkpoint is None else checkpoint.load()
    at = None if state is None else place_of(state)
    batches = Passes(problem.training_batches(table.batch_size, seed=seed), at)
    steps = table.epochs * len(batches)
    arithmetic = problem.arithmetic
    module = BaselineTraining(
        arithmetic.arranged(network),
        problem.task,
        lr=table.lr,
        weight_decay=table.weight_decay,
        total_steps=steps,
        label_smoothing=table.label_smoothing,
    )
    if state is not None:
        module.resume(state["training"])
        notify(Notice(f"the baseline's training goes on in epoch {batches.first + 1} of {table.epochs}"))
    fit(
        module,
        batches,
        epochs=table.epochs - batches.first,
        callbacks=[_Report(problem, table.epochs, notify, batches.first)],
        arithmetic=arithmetic,
        device=problem.definition.trial.device,
        checkpoint=checkpoint,
        more=lambda: {ARITHMETIC: arithmetic.to_dict()},
    )
    PLAIN.arranged(network)


def describe(
    problem: Problem, widths: dict[str, int], value: float, origin: dict[str, Any], *, interval: Interval | None = None
) -> NetworkDescription:
    """The description of a network of this study, with its metric on the validation split.

    Args:
        problem: the study's.
        widths: group → channels.
        value: of the metric.
        origin: where in the study it comes from.
        interval: of the value, where the validation split does not choose among such networks.
    """
    full = {group.name: group.width for group in problem.costs.groups}
    return NetworkDescription(
        factory=problem.definition.model.factory,
        arguments=problem.definition.model.arguments,
        input_shape=described(problem.inputs),
        widths={name: width for name, width in widths.items() if width < full[name]},
        data=problem.described_data(),
        metrics=[
            {
                "split": "validation",
                "metric": problem.task.metric.name,
                "value": value,
                "examples": len(problem.data.validation),
                **({} if interval is None else {"interval": list(interval)}),
                "seed": problem.definition.study.seed,
            }
        ],
        task={
            "name": problem.definition.task.name,
            "arguments": problem.definition.task.arguments,
            "num_classes": problem.data.num_classes,
        },
        origin={"study": problem.definition.study.name, **origin},
    )


class _Report(pl.Callback):
    """Tells of each epoch; of a training that goes on, `before` are those that ended earlier."""

    def __init__(self, problem: Problem, epochs: int, notify: Listener, before: int) -> None:
        self.problem, self.epochs, self.notify, self.before = problem, epochs, notify, before

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BaselineTraining)
        epoch = self.before + trainer.current_epoch + 1
        if not math.isfinite(pl_module.mean_loss):
            lr = self.problem.definition.baseline.lr
            raise StudyError(
                f"the baseline diverged in epoch {epoch}: its training loss is "
                f"{pl_module.mean_loss}; lower baseline.lr = {lr:g}"
            )
        value = metric_of(pl_module.network, self.problem.validation_batches(), self.problem.task)
        self.notify(BaselineEpoch(epoch, self.epochs, pl_module.mean_loss, value))
