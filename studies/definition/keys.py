"""The tables of a study definition, one frozen model for each; every key is checked here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ...names import COSTS, MEMORY_FORMATS, METRICS, NETWORKS, PRECISIONS, PRUNERS, RECIPES, SAMPLERS, TASKS
from .dimensions import UnknownNameError, named

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# BatchNorm needs two examples to train on.
BatchSize = Annotated[int, Field(ge=2)]
Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]

# The studies beside a study, called NAME-screening and NAME-refined.
COMPANIONS = ("screening", "refined")

# However little compute a trial has, the pruner hears of it this often.
LEAST_REPORTS = 5


class Table(BaseModel):
    """A table that knows all its keys; the values keep their TOML types (no text turned into numbers)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Budget(Table):
    """`[study] budget`: the largest share of the baseline's cost that a pruned network may have.

    Widths are scaled to meet `macs` and `parameters`; `latency` is measured, and a constraint on the trial.
    """

    macs: Share | None = None
    parameters: Share | None = None
    latency: Share | None = None


def _study_name(name: str) -> str:
    # A companion has its study's definition under its own, longer name.
    if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,100}}(-({'|'.join(COMPANIONS)}))?", name):
        raise ValueError("must be 1 to 100 letters, digits, '-', '_' or '.'")
    return name


def _objectives(objectives: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(objectives) - set(COSTS)) != 1 or len(set(objectives)) < len(objectives):
        raise ValueError('must hold a metric and may hold "macs", "parameters" and "latency", each once')
    return objectives


class StudyTable(Table):
    """`[study]`: what is sought, and how long."""

    name: Annotated[str, AfterValidator(_study_name)]
    objectives: Annotated[
        tuple[Annotated[str, AfterValidator(named({**METRICS, **COSTS}))], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        AfterValidator(_objectives),
    ] = ("accuracy",)
    budget: Budget = Budget()
    trials: Count = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def metric(self) -> str:
        """The objective that is no cost."""
        return next(objective for objective in self.objectives if objective not in COSTS)


def _factory(factory: str) -> str:
    if ":" not in factory and factory not in NETWORKS:
        names = ", ".join(NETWORKS)
        forms = "torchvision:NAME, timm:NAME, path/to/file.py:FACTORY or package.module:FACTORY"
        raise UnknownNameError(f"must be a network's name ({names}), {forms}", factory, NETWORKS)
    return factory


class ModelTable(Table):
    """`[model]`: the network's factory; every other key is an argument of that factory."""

    model_config = ConfigDict(extra="allow")

    factory: Annotated[str, AfterValidator(_factory)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The factory's keyword arguments."""
        return dict(self.model_extra or {})


def _task(name: str) -> str:
    if ":" not in name and name not in TASKS:
        names = ", ".join(TASKS)
        raise UnknownNameError(
            f"must be a task's name ({names}), path/to/file.py:TASK or package.module:TASK", name, TASKS
        )
    return name


class TaskTable(Table):
    """`[task]`: what the network is for; every other key is an argument of that task.

    Segmentation takes `ignore_index`, the value of pixels that do not count; a task of the user's own what its class
    takes.
    """

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, AfterValidator(_task)] = "classification"

    @property
    def arguments(self) -> dict[str, Any]:
        """The task's keyword arguments."""
        return dict(self.model_extra or {})


class BaselineTable(Table):
    """`[baseline]`: how the network to prune is trained, or the checkpoint it is read from.

    `weights` names published ones of a torchvision or timm network, "DEFAULT" its best ones: with `epochs` the training
    begins at them, without they are the baseline; "given" are those of a network that is given as an object. Without
    any of the three it is trained for 30 epochs. `label_smoothing` is the share of each label that is spread over all
    classes.
    """

    epochs: Count | None = None
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    weights: Annotated[str, Field(min_length=1)] | None = None
    batch_size: BatchSize = 128
    lr: Rate = 0.1
    weight_decay: Decay = 5e-4
    label_smoothing: Annotated[float, Field(ge=0, le=0.9)] = 0.0

    @model_validator(mode="after")
    def _train_by_default(self) -> Self:
        if self.epochs is None and self.checkpoint is None and self.weights is None:
            # Past the frozen `__setattr__`: what nobody wrote does not count among the keys that are set.
            object.__setattr__(self, "epochs", 30)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.epochs is not None and self.checkpoint is not None:
            raise ValueError("must have either epochs or checkpoint")
        if self.weights is not None and self.checkpoint is not None:
            raise ValueError("must have either weights or checkpoint")
        return self


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError('must be "auto", "cpu", "cuda", "cuda:NUMBER" or "mps"')
    return name


class TrialTable(Table):
    """`[trial]`: how long one trial trains, and on how much data branches and BatchNorms are set.

    Without `epochs` or `compute` it is 10 epochs. Of two keys that exclude each other, `--set` replaces one.
    `compute` is the trial's budget in epochs of the baseline's training MACs: a trial that narrows early gets more
    steps for it. `calibration_examples` are what the branches are initialised from; `recalibration_batches` recompute
    the BatchNorm statistics at α = 0. `device` is where baseline and trials train: "auto" takes a GPU if there is one;
    "cpu", "cuda", "cuda:1" or "mps" that one. `precision` and `memory_format` are what baseline and trials train in:
    "auto" times a few training steps of each before the baseline, once per study, and keeps what is faster by a tenth
    at least; metrics are always those of the float32 network.
    """

    epochs: Count | None = None
    compute: Annotated[float, Field(gt=0)] | None = None
    batch_size: BatchSize = 128
    calibration_examples: Count = 1024
    recalibration_batches: Count = 8
    device: Annotated[str, AfterValidator(_device)] = "auto"
    precision: Annotated[str, AfterValidator(named(PRECISIONS))] = "auto"
    memory_format: Annotated[str, AfterValidator(named(MEMORY_FORMATS))] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _epochs_by_default(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("epochs") is None and table.get("compute") is None:
            return {**table, "epochs": 10}
        return table

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.compute is not None:
            raise ValueError("must have either epochs or compute")
        return self

    @property
    def reports(self) -> int:
        """How often a trial reports to the pruner: after every epoch, or every epoch's worth of compute."""
        return self.epochs if self.epochs is not None else max(LEAST_REPORTS, round(self.compute or 0))


class ScreeningTable(Table):
    """`[screening]`: before the first trial, widths are judged by the initialised network, the best by a sprint.

    `candidates` are tried (0: none), each initialised as a trial's network is and judged on the validation split.
    Equal shares, the best of them and what lies half-way between, as many as `sprints` says (0: none), are then
    trained `steps` steps each, and ranked by their validation loss after that. The `start` best are the first trials'
    widths, and the ranges of the shares shrink to those of the best candidates, `margin` wider.
    """

    candidates: Annotated[int, Field(ge=0)] = 0
    sprints: Annotated[int, Field(ge=0)] = 8
    steps: Count = 40
    start: Count = 3
    margin: Annotated[float, Field(ge=0)] = 0.2


class SearchTable(Table):
    """`[search]`: Optuna's sampler and pruner; `startup_trials` are random before the sampler models.

    `recipes` names the known recipes that are tried first, as far as the space has room for them. So many of the best
    trials' recipes, the `finalists`, are trained again on new seeds before one is exported, and "fold-at-once" at equal
    shares beside them; 1: none. With several `rungs` recipes begin as short trials, each rung `reduction_factor` times
    as long as the one below, and the best of so many go on, begun anew; `study.trials` counts what whole trials cost.
    """

    sampler: Annotated[str, AfterValidator(named(SAMPLERS))] = "tpe"
    pruner: Annotated[str, AfterValidator(named(PRUNERS))] = "median"
    startup_trials: Count = 10
    recipes: Annotated[
        tuple[Annotated[str, AfterValidator(named(RECIPES))], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ] = tuple(RECIPES)
    finalists: Count = 3
    rungs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3
