"""The tables of a study definition, one frozen model for each; every key is checked here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .dimensions import Choices, Dimension, DimensionField, Fixed, Range, names, not_listed, one_of, within

Objective = Literal["accuracy", "macs", "parameters"]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
# BatchNorm needs two examples to train on.
BatchSize = Annotated[int, Field(ge=2)]
Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]

SHAPES = ("instant", "step", "linear", "cosine", "exponential", "knee")


class Table(BaseModel):
    """A table that knows all its keys; the values keep their TOML types (no text turned into numbers)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Budget(Table):
    """`[study] budget`: the largest share of the baseline's cost that a pruned network may have."""

    macs: Share | None = None
    parameters: Share | None = None


def _study_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise ValueError("must be 1 to 100 letters, digits, '-', '_' or '.'")
    return name


def _objectives(objectives: tuple[str, ...]) -> tuple[str, ...]:
    if "accuracy" not in objectives or len(set(objectives)) < len(objectives):
        raise ValueError('must hold "accuracy" and may hold "macs" and "parameters", each once')
    return objectives


class StudyTable(Table):
    """`[study]`: what is sought, and how long."""

    name: Annotated[str, AfterValidator(_study_name)]
    objectives: Annotated[
        tuple[Objective, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        AfterValidator(_objectives),
    ] = ("accuracy",)
    budget: Budget = Budget()
    trials: Count = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class ModelTable(Table):
    """`[model]`: the network's factory; every other key is an argument of that factory."""

    model_config = ConfigDict(extra="allow")

    factory: Annotated[str, Field(min_length=1)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The factory's keyword arguments."""
        return dict(self.model_extra or {})


class DataTable(Table):
    """`[data]`: the examples; `limit` counts training examples, `validation` is the share held out of them."""

    name: Annotated[str, Field(min_length=1)]
    root: Annotated[str, Field(min_length=1)] = "data"
    limit: Annotated[int, Field(ge=2)] | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    augment: bool = True


class BaselineTable(Table):
    """`[baseline]`: how the network to prune is trained, or the checkpoint it is read from."""

    epochs: Count | None = None
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    batch_size: BatchSize = 128
    lr: Rate = 0.1
    weight_decay: Decay = 5e-4

    @model_validator(mode="before")
    @classmethod
    def _train_by_default(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("epochs") is None and table.get("checkpoint") is None:
            return {**table, "epochs": 30}
        return table

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.epochs is not None and self.checkpoint is not None:
            raise ValueError("must have either epochs or checkpoint")
        return self


class TrialTable(Table):
    """`[trial]`: how long one trial trains, and on how much data branches and BatchNorms are set.

    `calibration_examples` are what the branches are initialised from; `recalibration_batches` recompute the
    BatchNorm statistics at α = 0.
    """

    epochs: Count = 10
    batch_size: BatchSize = 128
    calibration_examples: Count = 1024
    recalibration_batches: Count = 8


class ScheduleSpace(Table):
    """`[space.schedule]`: the curve of α; `fade` is the share of the trial after which α is 0.

    A table `[space.schedule.<shape>]` holds the dimensions of that shape's own parameters.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, DimensionField]] = Field(init=False)

    shape: Annotated[DimensionField, AfterValidator(names)] = Choices(SHAPES)
    fade: Annotated[DimensionField, AfterValidator(within(above=0, maximum=1))] = Range(0.2, 0.8)

    @property
    def parameters(self) -> dict[str, dict[str, Dimension]]:
        """The dimensions of each shape's own parameters, by shape."""
        return dict(self.__pydantic_extra__)


class KeepSpace(Table):
    """`[space.keep]`: the share of channels that stays, and how many groups share one value."""

    per: Literal["network", "resolution", "layer"] = "layer"
    range: Annotated[DimensionField, AfterValidator(not_listed), AfterValidator(within(above=0, maximum=1))] = Range(
        0.1, 1.0
    )


class InitialisationSpace(Table):
    """`[space.initialisation]`: how new branches get their weights."""

    method: Annotated[DimensionField, AfterValidator(one_of("least-squares", "kaiming"))] = Fixed("least-squares")


class TrainingSpace(Table):
    """`[space.training]`: the trial's optimiser; `train_original` is whether the original's weights train too."""

    lr: Annotated[DimensionField, AfterValidator(within(above=0))] = Range(0.005, 0.1, log=True)
    weight_decay: Annotated[DimensionField, AfterValidator(within(minimum=0))] = Fixed(5e-4)
    train_original: Annotated[DimensionField, AfterValidator(one_of(True, False))] = Fixed(True)


class Space(Table):
    """`[space.*]`: every value that Optuna may propose; a plain value is fixed."""

    schedule: ScheduleSpace = ScheduleSpace()
    keep: KeepSpace = KeepSpace()
    initialisation: InitialisationSpace = InitialisationSpace()
    training: TrainingSpace = TrainingSpace()


class SearchTable(Table):
    """`[search]`: Optuna's sampler and pruner; `startup_trials` are random before the sampler models."""

    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    startup_trials: Count = 10
