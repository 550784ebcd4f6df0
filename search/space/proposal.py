"""What Optuna proposes for one trial: schedule, stages, widths, blending, and how to train."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import BaseTrial

from ...models.channels.groups import ChannelGroup
from ...models.cost import CostModel
from ...models.fitting.initialisations import INITIALISATIONS
from ...studies.definition.deciding import without_rule
from ...studies.definition.dimensions import Choices, Dimension, Fixed, Range, extremes
from ...studies.definition.reading import Definition
from ..schedules import SHAPES, ordered
from .budget import widths_for
from .recipe import Recipe, Stages, Training, narrowed

Errors = Mapping[str, Sequence[float]]

_SCORE = Range(0.0, 1.0)


class SearchSpace:
    """A definition's `[space.*]` for one network.

    Parameters are called as their keys: `schedule.shape`, `keep.features.0`. One that depends on another, such as a
    shape's own, is proposed only where it counts.

    Args:
        definition: the study; what it leaves to a rule is decided by whoever has its data, or left out here.
        costs: the network's cost model.
        errors: gives each group's error at every width, 0 … C; asked only where something depends on it.
        shares: other dimensions for some of the `keep` parameters: what screening narrowed them to.
    """

    def __init__(
        self,
        definition: Definition,
        costs: CostModel,
        errors: Callable[[], Errors],
        shares: Mapping[str, Dimension] | None = None,
    ) -> None:
        self.definition, self.costs, self.errors = definition, costs, errors
        self.table = without_rule(definition).space
        self.full = {group.name: group.width for group in costs.groups if group.prunable}
        self.shares = dict(shares or {})

    def propose(self, trial: optuna.Trial) -> Recipe:
        """Asks Optuna for one trial's recipe.

        Raises:
            StudyError: if no widths meet the budget.
        """
        schedule, blending = self.table.schedule, self.table.blending
        shape = str(suggest(trial, "schedule.shape", schedule.shape))
        parameters = {
            name: suggest(trial, f"schedule.{shape}.{name}", dimension)
            for name, dimension in self.shape_dimensions(shape).items()
        }
        fades = shape != "instant"
        widths = self.propose_widths(trial)
        initialisation = self.table.initialisation
        method = str(suggest(trial, "initialisation.method", initialisation.method))
        chooses = INITIALISATIONS[method].channels is not None
        return Recipe(
            shape=shape,
            parameters=parameters,
            fade=float(suggest(trial, "schedule.fade", schedule.fade)) if fades else 0.0,
            widths=widths,
            training=self._training(trial, fades),
            stages=self._stages(trial, widths, fades),
            method=method,
            channels=str(suggest(trial, "initialisation.channels", initialisation.channels)) if chooses else "greedy",
            blending=str(suggest(trial, "blending.mode", blending.mode)) if fades else "convex",
            zero_loss=float(suggest(trial, "blending.zero_loss", blending.zero_loss)) if fades else 0.0,
        )

    def propose_widths(self, trial: BaseTrial) -> dict[str, int]:
        """The channels that stay in every group that can be narrowed, within the budget.

        Raises:
            StudyError: if no widths meet the budget.
        """
        values = {name: float(suggest(trial, name, dimension)) for name, dimension in self.keep_dimensions().items()}
        if self.table.keep.per == "sensitivity":
            keep = self._by_sensitivity(values)
        else:
            keep = {
                group.name: values[name] for group in self.free_groups() if (name := self._keep_name(group)) in values
            }
        return self.widths(keep)

    def widths(self, keep: Mapping[str, float]) -> dict[str, int]:
        """Shares as widths within the budget and the groups' bounds; groups that are not named have their bound's.

        Raises:
            StudyError: if no widths meet the budget.
        """
        bounds = self.table.keep.layers
        asked = {name: keep.get(name, bounds.get(name, (1.0, 1.0))[0]) for name in self.full}
        multiple = self.table.keep.multiple
        return widths_for(asked, self.costs, self.definition.study.budget, bounds=bounds, multiple=multiple)

    def shares_of(self, widths: Mapping[str, int]) -> dict[str, float]:
        """Widths as the values of the parameters that propose them, where each group has its own."""
        return {self._keep_name(g): widths[g.name] / g.width for g in self.free_groups()}

    @property
    def searches_widths(self) -> bool:
        """Whether any parameter decides the widths."""
        return any(not isinstance(dimension, Fixed) for dimension in self.keep_dimensions().values())

    def keep_dimensions(self) -> dict[str, Dimension]:
        """The parameters that decide the widths."""
        keep = self.table.keep
        if keep.per == "sensitivity":
            named: dict[str, Dimension] = {
                "keep.threshold": keep.threshold,
                "keep.strength": keep.strength,
                "keep.tilt": keep.tilt,
            }
        else:
            named = {self._keep_name(group): self._share_dimension(group) for group in self.free_groups()}
        return {**named, **{name: self.shares[name] for name in named if name in self.shares}}

    def shape_dimensions(self, shape: str) -> dict[str, Dimension]:
        """The dimensions of a shape's own parameters."""
        own = SHAPES[shape].parameters
        if self.table.schedule.defaults:
            named: dict[str, Dimension] = {name: Fixed(parameter.default) for name, parameter in own.items()}
        else:
            named = {name: Range(p.low, p.high, log=p.log) for name, p in own.items()}
        return {**named, **self.table.schedule.parameters.get(shape, {})}

    def dimensions(self) -> dict[str, Dimension]:
        """All parameters that any trial may have, by name."""
        table, found = self.table, dict(self.keep_dimensions())
        for section in ("schedule", "stages", "initialisation", "blending", "training"):
            space = getattr(table, section)
            for key in type(space).model_fields:
                if isinstance(dimension := getattr(space, key), Fixed | Choices | Range):
                    found[f"{section}.{key}"] = dimension
        for shape in map(str, extremes(table.schedule.shape)):
            found |= {f"schedule.{shape}.{name}": d for name, d in self.shape_dimensions(shape).items()}
        if "scores" in extremes(table.stages.order):
            found |= {f"stages.score.{name}": _SCORE for name in self.full}
        return found

    def free_groups(self) -> list[ChannelGroup]:
        """The groups whose widths are proposed: those that can be narrowed and have no single share."""
        bounds = self.table.keep.layers
        groups = [group for group in self.costs.groups if group.prunable]
        return [g for g in groups if g.name not in bounds or bounds[g.name][0] < bounds[g.name][1]]

    def _keep_name(self, group: ChannelGroup) -> str:
        per = self.table.keep.per
        if per == "network":
            return "keep"
        if per == "resolution":
            return f"keep.{'x'.join(map(str, group.resolution)) or '1x1'}"
        return f"keep.{group.name}"

    def _share_dimension(self, group: ChannelGroup) -> Dimension:
        keep = self.table.keep
        if keep.per != "layer" or group.name not in keep.layers:
            return keep.range
        return Range(*keep.layers[group.name])

    def _by_sensitivity(self, values: Mapping[str, float]) -> dict[str, float]:
        """Shares from error curves: (least share whose error is at most the threshold)^strength, tilted by depth."""
        names = [group.name for group in self.free_groups()]
        errors = self.errors()
        keep = {}
        for i, name in enumerate(names):
            curve = errors[name]
            enough = next((k for k in range(1, len(curve)) if curve[k] <= values["keep.threshold"]), len(curve) - 1)
            depth = i / max(len(names) - 1, 1) - 0.5
            keep[name] = (enough / (len(curve) - 1)) ** values["keep.strength"] * 2.0 ** (values["keep.tilt"] * depth)
        most = max([1.0, *keep.values()])
        return {name: share / most for name, share in keep.items()}

    def _stages(self, trial: optuna.Trial, widths: dict[str, int], fades: bool) -> Stages:
        table = self.table.stages
        groups = narrowed(widths, self.full, list(self.full))
        hold = float(suggest(trial, "stages.hold", table.hold))
        if not fades:
            return Stages(sequence=tuple(groups), hold=hold)
        count = int(suggest(trial, "stages.count", table.count))
        windows = str(suggest(trial, "stages.windows", table.windows))
        if count == 1 and windows == "shared":
            return Stages(sequence=tuple(groups), hold=hold)
        order = str(suggest(trial, "stages.order", table.order))
        return Stages(
            count=count,
            order=order,
            sequence=tuple(ordered(groups, order, self._scores(trial, order, widths))),
            overlap=float(suggest(trial, "stages.overlap", table.overlap)) if count > 1 else 0.0,
            windows=windows,
            hold=hold,
        )

    def _scores(self, trial: optuna.Trial, order: str, widths: dict[str, int]) -> dict[str, float]:
        if order == "scores":  # of all groups: which of them are narrowed depends on other parameters
            return {name: suggest(trial, f"stages.score.{name}", _SCORE) for name in self.full}
        if order == "cost":
            whole = self.costs.full.macs
            return {name: whole - self.costs.cost({name: width}).macs for name, width in widths.items()}
        if order == "sensitivity":
            errors = self.errors()
            return {name: -errors[name][width] for name, width in widths.items()}
        return {}

    def _training(self, trial: optuna.Trial, fades: bool) -> Training:
        table = self.table.training
        left_out = set() if fades else {"train_original", "restarts"}
        if extremes(table.distillation) == (0.0,):
            left_out |= {"distillation_loss", "temperature"}
        values: dict[str, Any] = {}
        for key in type(table).model_fields:
            if key not in left_out:
                values[key] = suggest(trial, f"training.{key}", getattr(table, key))
        return Training(**values)


def suggest(trial: BaseTrial, name: str, dimension: Dimension) -> Any:
    """One parameter's value; a fixed one is no parameter of Optuna's."""
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choices):
        return trial.suggest_categorical(name, dimension.values)
    if dimension.is_integer:
        step = int(dimension.step) if dimension.step else 1
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), step=step, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
