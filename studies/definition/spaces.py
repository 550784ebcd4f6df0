"""The tables of `[space.*]`: every value that Optuna may propose."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ...names import (
    BLENDINGS,
    CHOICES,
    DISTANCES,
    INITIALISATIONS,
    KEEP_PER,
    ORDERS,
    PRECISIONS,
    RATES,
    RESTARTS,
    SHAPES,
    WINDOWS,
)
from .data_keys import augmenting
from .dimensions import (
    AUTO,
    Choices,
    Dimension,
    DimensionField,
    Fixed,
    Range,
    UnknownKeyError,
    named,
    not_listed,
    one_of,
    or_auto,
    whole,
    within,
)
from .keys import Count, Table


class ScheduleSpace(Table):
    """`[space.schedule]`: the curve of α; `fade` is the share of the trial after which α is 0.

    A table `[space.schedule.<shape>]` holds the dimensions of that shape's own parameters; of those that are not named
    the ranges of the shape are searched or, with `defaults`, their defaults taken. `schedule = "cosine"` is that shape
    with `defaults`, over half of the trial.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, DimensionField]] = Field(init=False)

    shape: Annotated[DimensionField, AfterValidator(one_of(SHAPES))] = Choices(tuple(SHAPES))
    fade: Annotated[DimensionField, AfterValidator(within(above=0, maximum=1))] = Range(0.2, 0.8)
    defaults: bool = False

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, table: Any) -> Any:
        return {"shape": table, "fade": 0.5, "defaults": True} if isinstance(table, str) else table

    @model_validator(mode="after")
    def _known_shapes(self) -> Self:
        for name in self.parameters:
            if name not in SHAPES:
                raise UnknownKeyError(name, [*type(self).model_fields, *SHAPES])
        return self

    @property
    def parameters(self) -> dict[str, dict[str, Dimension]]:
        """The dimensions of each shape's own parameters, by shape."""
        return dict(self.__pydantic_extra__)


class StagesSpace(Table):
    """`[space.stages]`: which groups fade together, and when.

    `order` is that of the stages ("scores" searches a number for each group and sorts by it); `overlap` the share of a
    window in common with the next one; `windows` whether the groups of a stage share its window or each has its own;
    `hold` the share of the rest of the trial that a stage trains on unfolded after its α has reached 0.
    """

    count: Annotated[DimensionField, AfterValidator(whole), AfterValidator(within(minimum=1))] = Fixed(1)
    order: Annotated[DimensionField, AfterValidator(one_of(ORDERS))] = Choices(
        tuple(order for order in ORDERS if order != "scores")
    )
    overlap: Annotated[DimensionField, AfterValidator(within(minimum=0, maximum=1))] = Fixed(0.0)
    windows: Annotated[DimensionField, AfterValidator(one_of(WINDOWS))] = Fixed("shared")
    hold: Annotated[DimensionField, AfterValidator(within(minimum=0, maximum=1))] = Fixed(0.0)


def _bounds(value: Any) -> Any:
    ends = value if isinstance(value, list | tuple) else (value, value)
    if len(ends) != 2 or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in ends):
        raise ValueError("must be a share of the channels, or [lowest, highest]")
    if not 0 < ends[0] <= ends[1] <= 1:
        raise ValueError("must have 0 < lowest <= highest <= 1")
    return (float(ends[0]), float(ends[1]))


class KeepSpace(Table):
    """`[space.keep]`: the share of channels that stays, and how many groups share one value.

    With `per = "sensitivity"` a group's share follows from its error curve: the share at which its error is
    `threshold`, to the power `strength` (0: all alike), tilted towards the last groups by `tilt`. `layers` holds the
    least and the greatest share of single groups, or one share that stays; `multiple` rounds channels. `keep = 0.5` is
    that share everywhere.
    """

    per: Annotated[str, AfterValidator(named(KEEP_PER))] = "layer"
    range: Annotated[DimensionField, AfterValidator(not_listed), AfterValidator(within(above=0, maximum=1))] = Range(
        0.1, 1.0
    )
    threshold: Annotated[DimensionField, AfterValidator(within(above=0, maximum=1))] = Range(0.003, 0.3, log=True)
    strength: Annotated[DimensionField, AfterValidator(within(minimum=0))] = Range(0.0, 2.0)
    tilt: Annotated[DimensionField, AfterValidator(within())] = Range(-1.5, 1.5)
    multiple: Count = 1
    layers: dict[str, Annotated[tuple[float, float], BeforeValidator(_bounds)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, table: Any) -> Any:
        number = isinstance(table, int | float) and not isinstance(table, bool)
        return {"per": "network", "range": table} if number else table


class InitialisationSpace(Table):
    """`[space.initialisation]`: how new branches get their weights, and how the channels that stay are chosen."""

    method: Annotated[DimensionField, AfterValidator(one_of(INITIALISATIONS))] = Fixed("least-squares")
    channels: Annotated[DimensionField, AfterValidator(one_of(CHOICES))] = Fixed("greedy")


class BlendingSpace(Table):
    """`[space.blending]`: what is heard while α falls; `zero_loss` is the weight of the loss at α = 0 in training."""

    mode: Annotated[DimensionField, AfterValidator(one_of(BLENDINGS))] = Choices(tuple(BLENDINGS))
    zero_loss: Annotated[DimensionField, AfterValidator(within(minimum=0, maximum=1))] = Fixed(0.0)


class TrainingSpace(Table):
    """`[space.training]`: how a trial trains.

    `rates` is the course of the learning rate, `restarts` when it begins anew: at the end of each stage, or at every
    fall of a stepwise α too. `train_original` is whether the original's weights train while α > 0; `distillation` the
    weight of the baseline's logits in the loss, by their divergence at `temperature` or their squared error; `clip` the
    largest norm of the gradient, 0 for none; `precision` "auto" is what `[trial]` says; `augment` is whether trials
    augment their images as the baseline does, or by other names of `[data] augment`, several joined by "+".

    `distillation` and `augment` "auto" are decided when a study is made, and kept with it: a trial of at least one
    epoch of compute (an epoch counts as the budget's share of MACs) or of fewer than 10,000 images is distilled with
    weight 0.5 where that costs next to nothing: in the classification of images that come as they are or mirrored,
    what the baseline says of each is computed once per study. `augment` is "flip" then in place of "shift-flip". Else
    `distillation` is 0, and `augment` false in place of "shift-flip" below half an epoch of compute, or true.
    """

    lr: Annotated[DimensionField, AfterValidator(within(above=0))] = Range(0.005, 0.1, log=True)
    rates: Annotated[DimensionField, AfterValidator(one_of(RATES))] = Fixed("one-cycle")
    restarts: Annotated[DimensionField, AfterValidator(one_of(RESTARTS))] = Choices(("none", "stages"))
    weight_decay: Annotated[DimensionField, AfterValidator(within(minimum=0))] = Fixed(5e-4)
    train_original: Annotated[DimensionField, AfterValidator(one_of((True, False)))] = Fixed(True)
    distillation: Annotated[DimensionField, AfterValidator(or_auto(within(minimum=0, maximum=1)))] = Fixed(AUTO)
    distillation_loss: Annotated[DimensionField, AfterValidator(one_of(DISTANCES))] = Fixed("divergence")
    temperature: Annotated[DimensionField, AfterValidator(within(above=0))] = Fixed(2.0)
    label_smoothing: Annotated[DimensionField, AfterValidator(within(minimum=0, maximum=0.9))] = Fixed(0.0)
    clip: Annotated[DimensionField, AfterValidator(within(minimum=0))] = Fixed(0.0)
    precision: Annotated[DimensionField, AfterValidator(one_of(PRECISIONS))] = Fixed("auto")
    augment: Annotated[DimensionField, AfterValidator(or_auto(augmenting))] = Fixed(AUTO)


class Space(Table):
    """`[space.*]`: every value that Optuna may propose; a plain value is fixed."""

    schedule: ScheduleSpace = ScheduleSpace()
    stages: StagesSpace = StagesSpace()
    keep: KeepSpace = KeepSpace()
    initialisation: InitialisationSpace = InitialisationSpace()
    blending: BlendingSpace = BlendingSpace()
    training: TrainingSpace = TrainingSpace()
