"""Lightning's loggers fed with a study's events: TensorBoard, CSV, W&B and whatever else has their interface."""

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from ..events import BaselineEpoch, Event, TrialEnded, TrialReport


class Logged:
    """Hears events and logs what they measure; closes the loggers in the end.

    Names are `baseline/loss`, `trial-3/metric` and so on; a step is an epoch of the baseline or a milestone of a trial.
    A recipe that is trained again, as finalists' are, logs as `trial-3-again-1/…`.

    Args:
        loggers: of Lightning: `log_metrics(metrics, step)`, and `save` and `finalize` at the end.
    """

    def __init__(self, loggers: Iterable[Any]) -> None:
        self.loggers = list(loggers)
        self._runs: dict[int, int] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, BaselineEpoch):
            self._log("baseline", {"loss": event.loss, "metric": event.metric}, event.epoch)
        elif isinstance(event, TrialReport):
            self._log(self._name(event), _of_report(event), event.number)
        elif isinstance(event, TrialEnded) and event.metric is not None:
            self._log("study", {"metric": event.metric, "macs_share": event.macs_share or math.nan}, event.trial)

    def __enter__(self) -> "Logged":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in self.loggers:
            logger.finalize("success" if kind is None else "failed")

    def _name(self, event: TrialReport) -> str:
        if event.number == 0:
            self._runs[event.trial] = self._runs.get(event.trial, 0) + 1
        again = self._runs.get(event.trial, 1) - 1
        return f"trial-{event.trial}{f'-again-{again}' if again else ''}"

    def _log(self, name: str, values: dict[str, float], step: int) -> None:
        finite = {f"{name}/{key}": value for key, value in values.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step)


def _of_report(event: TrialReport) -> dict[str, float]:
    return {
        "loss": event.loss,
        "alpha": event.alpha,
        "rate": event.rate,
        "metric": event.metric,
        "folded_metric": event.folded_metric,
        "compute": event.compute,
    }
