"""What is told of a trial at its milestones."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """A trial's state at one of its milestones; number 0 is the initialised network.

    Attributes:
        number: of the report.
        compute: spent so far, in epochs of the baseline's training.
        alpha: mean α of the narrowed groups.
        metric: of the study on the validation split, at the current α.
        folded_metric: likewise at α = 0, BatchNorm statistics recomputed: what the trial would deliver now.
        loss: mean training loss since the report before; NaN before the first step.
        rate: the learning rate of the last step; NaN before the first one.
        alphas: mean α of each stage's groups, in the stages' order; none before the first step.
    """

    number: int
    compute: float
    alpha: float
    metric: float
    folded_metric: float
    loss: float
    rate: float = math.nan
    alphas: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON types; without a loss that is no number."""
        numbers = {key: value for key, value in asdict(self).items() if key != "alphas" and math.isfinite(value)}
        return numbers | ({"alphas": list(self.alphas)} if self.alphas else {})

    @staticmethod
    def of(kept: dict[str, Any]) -> "Report":
        """The report that `to_dict` gave."""
        return Report(**{"loss": math.nan, **kept, "alphas": tuple(kept.get("alphas", ()))})


OnReport = Callable[[Report], None]
# Reports of a trial that goes on, the seconds at which each was made, and those that the trial had taken in all.
OnResume = Callable[[list[Report], list[float], float], None]
