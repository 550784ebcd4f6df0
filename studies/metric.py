"""What a study measures of a network: the metric's name, which way is better, and what can be said of its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .statistics import Interval

# "share": the share of examples that are right; "mean": the mean of a value per example; "accumulated": one value of
# all examples together, of which no single example has a part.
Kind = Literal["share", "mean", "accumulated"]


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: as objectives, tables and files call it.
        higher_is_better: which way is better.
        kind: how its value comes from the examples.
        unit: behind its value; "%" for one that lies in [0, 1] and is shown as a percentage.
    """

    name: str
    higher_is_better: bool = True
    kind: Kind = "mean"
    unit: str = ""

    def text(self, value: float) -> str:
        """A value for people: "97.3 %", "21.42 dB"."""
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        if self.unit == "dB":
            return f"{value:.2f} dB"
        return f"{value:.4g} {self.unit}".rstrip()

    def interval_text(self, low: float, high: float) -> str:
        """An interval for people: "95.1 to 98.6 %"."""
        shared = f" {self.unit}" if self.unit else ""
        return f"{self.text(low).removesuffix(shared)} to {self.text(high)}"

    def quality(self, value: float) -> float:
        """A number that is higher for a better network."""
        return value if self.higher_is_better else -value

    def interval(self, value: float, examples: int, scores: npt.NDArray[np.float64] | None) -> Interval | None:
        """The 95 % interval of a value on examples that nothing was chosen by; None where there is no telling.

        Args:
            value: of the metric.
            examples: how many it was measured on.
            scores: (examples,) of each, for the mean of them.
        """
        from .statistics import bootstrap, wilson  # scipy: seconds, and definitions are read without it

        if self.kind == "share":
            return wilson(value, examples)
        if self.kind == "mean" and scores is not None and len(scores) > 1:
            return bootstrap(scores)
        return None

    def to_dict(self) -> dict[str, Any]:
        """The metric in JSON types."""
        return self._asdict()


ACCURACY = Metric("accuracy", kind="share", unit="%")
# By the names of the tasks that come with branchfold.
METRICS = {
    "classification": ACCURACY,
    "multilabel": Metric("f1", kind="mean", unit="%"),
    "regression": Metric("mae", higher_is_better=False, kind="mean"),
    "reconstruction": Metric("psnr", kind="mean", unit="dB"),
    "segmentation": Metric("miou", kind="accumulated", unit="%"),
}
