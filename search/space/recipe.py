"""A recipe: everything that decides one trial but its seed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from ..schedules import Schedule, Window, make_schedule, stages_of, windows_for

# A recipe of another version, with keys that this one does not know, is refused and not half understood.
_STRICT = ConfigDict(extra="forbid")


@with_config(_STRICT)
@dataclass(frozen=True)
class Stages:
    """Which groups fade together.

    Attributes:
        count: of stages.
        order: its name; see ``[space.stages]``.
        sequence: the narrowed groups in that order.
        overlap: share of a stage's window in common with the next one's.
        windows: "shared", or "own" for each group of a stage.
        hold: share of the rest of the trial that a group trains on unfolded after its α has reached 0.
    """

    count: int = 1
    order: str = "forward"
    sequence: tuple[str, ...] = ()
    overlap: float = 0.0
    windows: str = "shared"
    hold: float = 0.0


@with_config(_STRICT)
@dataclass(frozen=True)
class Training:
    """How a trial trains; the keys of `[space.training]`."""

    lr: float
    rates: str = "one-cycle"
    restarts: str = "none"
    weight_decay: float = 5e-4
    train_original: bool = True
    distillation: float = 0.0
    distillation_loss: str = "divergence"
    temperature: float = 2.0
    label_smoothing: float = 0.0
    clip: float = 0.0
    precision: str = "auto"
    augment: bool | str = True


@with_config(_STRICT)
@dataclass(frozen=True)
class Recipe:
    """One trial's recipe.

    Attributes:
        shape: name of the α schedule.
        parameters: the schedule's own parameters.
        fade: share of the trial after which every α is 0.
        widths: group → channels that stay, for every group that can be narrowed.
        training: how it trains.
        stages: which groups fade together, and when.
        method: initialisation of the branches.
        channels: choice of the channels that stay.
        blending: "convex", "probability" or "uniform".
        zero_loss: weight of the loss at α = 0 while α > 0.
    """

    shape: str
    parameters: dict[str, float | int]
    fade: float
    widths: dict[str, int]
    training: Training
    stages: Stages = field(default_factory=Stages)
    method: str = "least-squares"
    channels: str = "greedy"
    blending: str = "convex"
    zero_loss: float = 0.0

    def schedule(self) -> Schedule:
        """α as a function of progress through a window."""
        return make_schedule(self.shape, **self.parameters)

    def windows(self) -> dict[str, Window]:
        """The window of each narrowed group."""
        stages = self.stages
        if not stages.sequence:
            return {}
        return windows_for(
            stages.sequence, count=stages.count, fade=self.fade, overlap=stages.overlap, windows=stages.windows
        )

    def groups_of_stages(self) -> list[tuple[str, ...]]:
        """The narrowed groups of each stage."""
        sequence = self.stages.sequence
        return [tuple(stage) for stage in stages_of(sequence, self.stages.count)] if sequence else []

    def to_dict(self) -> dict[str, Any]:
        """The recipe in JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """The recipe that `to_dict` gave, also after a way through JSON.

        Raises:
            pydantic.ValidationError: if the values are of another version's recipe.
        """
        return _ADAPTER.validate_python(values)


_ADAPTER = TypeAdapter(Recipe)


def narrowed(widths: dict[str, int], full: dict[str, int], groups: Sequence[str]) -> list[str]:
    """The groups, in the order given, that have a branch."""
    return [name for name in groups if widths.get(name, full[name]) < full[name]]
