"""What Optuna proposes for one trial: a schedule, the widths, and how to train."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from ..errors import StudyError
from ..models.cost import CostModel
from ..models.groups import ChannelGroup
from ..studies.definition import Definition
from ..studies.dimensions import Choices, Dimension, Fixed, Range
from .budget import widths_for
from .schedules import SHAPES, make_schedule


@dataclass(frozen=True)
class Proposal:
    """One trial's recipe.

    Attributes:
        shape: name of the α schedule.
        parameters: the schedule's own parameters.
        fade: share of the trial's steps after which α is 0.
        widths: group → channels that stay, for every group that can be narrowed.
        method: initialisation of the branches.
        lr: peak learning rate.
        weight_decay: of the optimizer.
        train_original: whether the original's weights train while α > 0.
    """

    shape: str
    parameters: dict[str, float]
    fade: float
    widths: dict[str, int]
    method: str
    lr: float
    weight_decay: float
    train_original: bool

    def schedule(self) -> Callable[[float], float]:
        """α as a function of progress through the fade."""
        return make_schedule(self.shape, **self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """The recipe in JSON types."""
        return asdict(self)


def propose(trial: optuna.Trial, definition: Definition, costs: CostModel) -> Proposal:
    """Asks Optuna for one trial's recipe; parameters of a shape are proposed only with that shape.

    Raises:
        StudyError: if no widths meet the budget.
    """
    space = definition.space
    shape = str(_suggest(trial, "schedule.shape", space.schedule.shape))
    parameters = {
        name: _suggest(trial, f"schedule.{shape}.{name}", dimension)
        for name, dimension in _shape_dimensions(definition, shape).items()
    }
    fade = 0.0 if shape == "instant" else _suggest(trial, "schedule.fade", space.schedule.fade)
    keep = {
        group.name: float(_suggest(trial, keep_name(group, space.keep.per), space.keep.range))
        for group in costs.groups
        if group.prunable
    }
    return Proposal(
        shape=shape,
        parameters=parameters,
        fade=fade,
        widths=widths_for(keep, costs, definition.study.budget),
        method=str(_suggest(trial, "initialisation.method", space.initialisation.method)),
        lr=_suggest(trial, "training.lr", space.training.lr),
        weight_decay=_suggest(trial, "training.weight_decay", space.training.weight_decay),
        train_original=bool(_suggest(trial, "training.train_original", space.training.train_original)),
    )


def keep_name(group: ChannelGroup, per: str) -> str:
    """The parameter that proposes a group's share: its own, its resolution's, or the network's."""
    if per == "network":
        return "keep"
    if per == "resolution":
        return f"keep.{'x'.join(map(str, group.resolution)) or '1x1'}"
    return f"keep.{group.name}"


def check_space(definition: Definition, costs: CostModel) -> None:
    """Checks, before a study starts, what only the schedules and the network can tell.

    Raises:
        StudyError: if a shape is unknown, no group can be narrowed, or no widths meet the budget.
        ScheduleError: if a shape or one of its parameters is unknown or out of range.
    """
    shape = definition.space.schedule.shape
    shapes = [str(value) for value in _values(shape)]
    for name in definition.space.schedule.parameters:
        if name not in SHAPES:
            raise StudyError(f"space.schedule.{name}: there is no such shape or key; shapes: {', '.join(SHAPES)}")
    for name in [*shapes, *definition.space.schedule.parameters]:
        for parameter, dimension in definition.space.schedule.parameters.get(name, {}).items():
            for value in _values(dimension):
                make_schedule(name, **{parameter: value})
        make_schedule(name)
    if not any(group.prunable for group in costs.groups):
        reasons = "; ".join(f"{group.name}: {group.reason}" for group in costs.groups[:3])
        raise StudyError(f"no channel group of {definition.model.factory} can be narrowed ({reasons})")
    widths_for({group.name: 1.0 for group in costs.groups if group.prunable}, costs, definition.study.budget)


def _shape_dimensions(definition: Definition, shape: str) -> dict[str, Dimension]:
    defaults = {
        name: Range(parameter.low, parameter.high, log=parameter.log)
        for name, parameter in SHAPES[shape].parameters.items()
    }
    return {**defaults, **definition.space.schedule.parameters.get(shape, {})}


def _values(dimension: Dimension) -> list[Any]:
    if isinstance(dimension, Fixed):
        return [dimension.value]
    return list(dimension.values) if isinstance(dimension, Choices) else [dimension.low, dimension.high]


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choices):
        return trial.suggest_categorical(name, dimension.values)
    if dimension.is_integer:
        step = int(dimension.step) if dimension.step else 1
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), step=step, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
