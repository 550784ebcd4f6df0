"""What each worker of a run is doing, as a table that is drawn again and again."""

import time
from dataclasses import dataclass, field

from rich.table import Table

from ...studies.metric import Metric
from ..console.shown.numbers import percent
from ..events import Event, TrialEnded, TrialReport, TrialStarted, WorkerTook


@dataclass
class _Row:
    """A worker's trial, and how far it is."""

    trial: int
    since: float = field(default_factory=time.monotonic)
    recipe: str = ""
    way: str = ""
    alpha: str = ""
    metric: str = ""


class CrewTable:
    """A row for each worker, kept up to date by events.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.caption = ""
        self._rows: dict[int, _Row] = {}

    def note(self, event: Event, metric: Metric) -> None:
        """Takes note of an event; values are shown as those of the study's metric."""
        if isinstance(event, WorkerTook):
            self._rows[event.worker] = _Row(event.trial)
        elif isinstance(event, TrialEnded):
            self._rows = {worker: row for worker, row in self._rows.items() if row.trial != event.trial}
        elif isinstance(event, TrialStarted | TrialReport):
            for row in self._rows.values():
                if row.trial == event.trial:
                    _fill(row, event, metric)

    def __rich__(self) -> Table:
        table = Table(caption=self.caption or None, caption_justify="left")
        for name in ("worker", "trial", "recipe", "done", "α", "at α = 0", "seconds"):
            table.add_column(name, justify="left" if name == "recipe" else "right")
        for worker in range(self.workers):
            row = self._rows.get(worker)
            if row is None:
                table.add_row(str(worker), *["-"] * 6)
                continue
            seconds = f"{time.monotonic() - row.since:.0f}"
            table.add_row(str(worker), str(row.trial), row.recipe, row.way, row.alpha, row.metric, seconds)
        return table


def _fill(row: _Row, event: TrialStarted | TrialReport, metric: Metric) -> None:
    if isinstance(event, TrialStarted):
        row.recipe = f"{event.shape}, {percent(event.macs_share)} of the MACs"
    else:
        row.way, row.alpha = f"{event.unit} {event.number}/{event.total}", f"{event.alpha:.3f}"
        row.metric = metric.text(event.folded_metric)
