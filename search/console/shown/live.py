"""What a run is doing, drawn again and again: a bar for what goes on as a whole, a line for each trial that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ....studies.characters import bar, sparkline
from ....studies.metric import ACCURACY, Metric
from ...events import (
    BaselineEpoch,
    BaselineReady,
    BaselineStarted,
    CrewStarted,
    Event,
    FinalistEnded,
    FinalistsStarted,
    Screened,
    ScreeningStarted,
    StudyMetric,
    TrialEnded,
    TrialReport,
    TrialStarted,
    TrialTaken,
    WorkerTook,
)
from .numbers import percent
from .standing import Standing
from .time_left import Range, quartiles, range_text, rest_of, time_left

# Characters.
_ALPHAS, _TRIAL_BAR, _LEAST_BAR, _MOST_BAR = 16, 10, 8, 40
_SCHEDULE = "α over the trial"
# Narrower terminals do not see recipes, and much narrower ones no schedules.
_WIDE, _NARROW = 108, 76


@dataclass
class _Part:
    """What goes on as a whole: the baseline, the widths, the trials or the finalists.

    Attributes:
        name: of it.
        done: of `total` steps.
        total: of them.
        told: of it so far.
        seconds: that each step took which was seen.
        since: when the last one ended.
    """

    name: str
    done: int
    total: int
    since: float
    told: str = ""
    seconds: list[float] = field(default_factory=list)

    def step(self, done: int, told: str, now: float) -> None:
        """Takes note of a step that ended."""
        self.seconds.append(now - self.since)
        self.done, self.told, self.since = done, told, now


@dataclass
class _Running:
    """A trial that runs: what it is, how far it is, and its α so far where nobody could foretell it."""

    trial: int
    since: float
    recipe: str = ""
    alphas: tuple[float, ...] = ()
    heard: list[float] = field(default_factory=list)
    number: int = 0
    total: int = 0
    alpha: str = ""
    metric: str = ""
    first: tuple[float, float] | None = None  # share and time of the first report: what came before is no pace
    last: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """Of the trial, in [0, 1]."""
        return self.number / self.total if self.total else 0.0

    def report(self, event: TrialReport, metric: Metric, now: float) -> None:
        """Takes note of a milestone."""
        self.number, self.total = event.number, event.total
        self.alpha, self.metric = f"{event.alpha:.3f}", metric.text(event.folded_metric)
        self.heard.append(event.alpha)
        self.last = (self.share, now)
        self.first = self.first or self.last

    def rest(self, typical: Range | None, now: float) -> Range | None:
        """What is left of it."""
        pace = None
        if self.first is not None and self.last is not None and self.last[0] > self.first[0]:
            (share, began), (reached, at) = self.first, self.last
            pace = (at - began) / (reached - share) * (1 - reached) - (now - at)
        return rest_of(now - self.since, typical, pace)

    def schedule(self, blocks: bool) -> str:
        """α over the trial, with a line where it is now."""
        values = self.alphas or tuple(self.heard[-_ALPHAS:])
        place = round(self.share * len(values)) if self.alphas else len(values)
        chart = sparkline(values, low=0, high=1, blocks=blocks)
        return f"{chart[:place]}{'│' if blocks else '|'}{chart[place:]}" if chart else ""


class LiveRun:
    """What goes on in a run, kept up to date by its events; rich draws it.

    Args:
        trials: that the study is to have; None where what runs belongs to no study.
        standing: how far it is already.
        finalists: whether finalists follow.
        metric: of the study, until it tells another.
        blocks: whether the terminal has block characters.
        clock: seconds.
    """

    def __init__(
        self,
        trials: int | None,
        standing: Standing = Standing(),  # noqa: B008  it cannot be changed
        *,
        finalists: bool = False,
        metric: Metric = ACCURACY,
        blocks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trials, self.finished, self.best = trials, standing.finished, standing.best
        self.finalists, self.metric, self.blocks, self.clock = finalists, metric, blocks, clock
        self.seconds = list(standing.seconds)
        self.workers: int | None = None
        self._ready = False
        self._part: _Part | None = None
        self._running: dict[int, _Running] = {}
        self._starting = Spinner("dots" if blocks else "line", "starting")

    def note(self, event: Event) -> None:
        """Takes note of an event."""
        now = self.clock()
        match event:
            case StudyMetric():
                self.metric = event.metric
            case BaselineStarted():
                self._part = _Part("baseline", 0, event.epochs, now)
            case BaselineEpoch() if self._part is not None:
                told = f"validation {self.metric.text(event.metric)}, loss {event.loss:.3f}"
                self._part.step(event.epoch, told, now)
            case ScreeningStarted():
                self._part = _Part("widths", event.judged, event.candidates, now)
            case Screened() if self._part is not None:
                self._part.step(event.candidate, f"least validation loss {event.best:.4f}", now)
            case BaselineReady() | TrialEnded():
                self._ready, self._part = True, None
            case CrewStarted():
                self.workers, self._running = event.workers, {}
            case WorkerTook():
                self._began(event.worker, event.trial, now)
            case TrialTaken():
                self.workers = None
                self._began(0, event.trial, now)
            case FinalistsStarted():
                self.workers, self.finalists, self._running = None, False, {}
                self._part = _Part("finalists", 0, event.runs, now)
            case FinalistEnded() if self._part is not None:
                self._part.step(event.run, "", now)
                self.seconds.append(event.seconds)
                self._running = {}
        if isinstance(event, TrialEnded):
            self.finished, self.best = event.finished, event.best
            self.seconds.append(event.seconds)
            self._running = {place: row for place, row in self._running.items() if row.trial != event.trial}
        elif isinstance(event, TrialStarted):
            for row in self._rows_of(event.trial):
                row.recipe, row.alphas = f"{event.shape}, {percent(event.macs_share)} of the MACs", event.alphas
        elif isinstance(event, TrialReport):
            if not self._rows_of(event.trial):  # a run beside the study's trials
                self._running = {0: _Running(event.trial, now)}
            for row in self._rows_of(event.trial):
                row.report(event, self.metric, now)

    def _began(self, place: int, trial: int, now: float) -> None:
        if self._part is not None and self._part.name != "finalists":
            self._part = None
        self._running = {**self._running, place: _Running(trial, now)}

    def _rows_of(self, trial: int) -> list[_Running]:
        return [row for row in self._running.values() if row.trial == trial]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now, width = self.clock(), options.max_width
        line = self._line(width, now)
        if line is None and not self._running:
            yield self._starting
        if line is not None:
            yield line
        if self._running or self.workers is not None:
            yield self._table(width, now)

    def _line(self, width: int, now: float) -> Text | None:
        """The bar of what goes on as a whole, and what is left of it."""
        part, told = self._part, []
        if part is not None:
            name, done, total, left = part.name, part.done, part.total, self._left(now)
        elif self.trials is not None and self._ready:
            name, done, total, left = "study", self.finished, self.trials, self._left(now)
        else:
            return None
        if part is not None and part.told:
            told.append(part.told)
        elif self.best is not None:
            told.append(f"best {self.metric.text(self.best.metric)} (trial {self.best.trial})")
        if left is not None and left.high >= 1:
            told.append(f"{range_text(left)} left")
        around = "  ".join(["", f"{done}/{total}", *told])
        length = min(_MOST_BAR, max(_LEAST_BAR, width // 8))
        then = " + finalists" if part is None and self.finalists else ""
        if len(name) + 2 + length + len(around) + len(then) <= width:
            around += then
        return Text.assemble(
            (name, "bold"), "  ", *self._bar(done / max(total, 1), length), around, no_wrap=True, overflow="ellipsis"
        )

    def _left(self, now: float) -> Range | None:
        part, typical = self._part, quartiles(self.seconds)
        running = [row.rest(typical, now) for row in self._running.values()]
        if part is None:
            waiting = max(0, (self.trials or 0) - self.finished - len(running))
            return time_left(running, waiting, typical, self.workers or 1)
        waiting = part.total - part.done
        if part.name == "finalists":
            return time_left(running, max(0, waiting - len(running)), typical)
        step = quartiles(part.seconds)
        return time_left([rest_of(now - part.since, step)], waiting - 1, step) if waiting else None

    def _table(self, width: int, now: float) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        crew = self.workers is not None
        columns = ["worker"] * crew + ["trial", "", "done", "α", "at α = 0", "seconds"]
        columns += [_SCHEDULE] * (width >= _NARROW) + ["recipe"] * (width >= _WIDE)
        for name in columns:
            least = {"": _TRIAL_BAR, "done": 5, "α": 5, _SCHEDULE: _ALPHAS + 1}.get(name)
            left = name in ("", _SCHEDULE, "recipe")
            table.add_column(name, justify="left" if left else "right", no_wrap=True, min_width=least)
        running = self._running
        for place in range(self.workers) if self.workers is not None else sorted(running):
            row = running.get(place)
            cells: list[Text | str] = [str(place)] if crew else []
            if row is None:
                table.add_row(*cells, *["-"] * (len(columns) - len(cells)))
                continue
            done = f"{row.number}/{row.total}" if row.total else "-"
            cells += [str(row.trial), Text.assemble(*self._bar(row.share, _TRIAL_BAR)), done, row.alpha, row.metric]
            cells += [f"{now - row.since:.0f}", row.schedule(self.blocks), row.recipe]
            table.add_row(*cells[: len(columns)])
        return table

    def _bar(self, share: float, width: int) -> list[tuple[str, str]]:
        """A bar and the way that is left, as styled texts."""
        done = bar(share, width, blocks=self.blocks)
        return [(done, "cyan"), (("·" if self.blocks else ".") * (width - len(done)), "dim")]
