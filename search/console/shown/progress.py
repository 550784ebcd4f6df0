"""Progress for people: a live display on a terminal, a line a trial elsewhere; more or less of it on request."""

from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from ....studies.metric import ACCURACY, Metric
from ...events import (
    BaselineEpoch,
    BaselineReady,
    BaselineStarted,
    Event,
    FinalistEnded,
    Notice,
    Screened,
    ScreeningStarted,
    StudyMetric,
    TrialEnded,
    TrialReport,
    TrialStarted,
)
from ..options import Detail
from ..terminal import can_draw
from .live import LiveRun
from .numbers import percent, with_interval
from .standing import Standing


class Progress:
    """Shows a run's events; the best trial so far stands beside every line about a trial.

    What passes, such as an epoch, is shown in the live display of a terminal, and elsewhere not unless it is asked for.

    Args:
        console: where to; its `is_terminal` decides whether there is a live display.
        trials: how many the study is to have; None where what runs belongs to no study.
        standing: how far the study is.
        detail: "quiet" for nothing, "normal", or "verbose" for a line for whatever passes.
        metric: of the study, until it tells another.
        finalists: whether finalists follow the trials.
    """

    def __init__(
        self,
        console: Console,
        trials: int | None,
        standing: Standing = Standing(),  # noqa: B008  it cannot be changed
        detail: Detail = "normal",
        metric: Metric = ACCURACY,
        *,
        finalists: bool = False,
    ) -> None:
        self.console, self.trials, self.best, self.detail, self.metric = console, trials, standing.best, detail, metric
        self.live: Live | None = None
        self._run = LiveRun(trials, standing, finalists=finalists, metric=metric, blocks=can_draw(console))

    def __enter__(self) -> Self:
        if self.console.is_terminal and self.detail == "normal":
            self.live = Live(self._run, console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            with suppress(OSError):  # the terminal is gone
                self.live.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        if self.detail == "quiet":
            return
        self._run.note(event)
        match event:
            case StudyMetric():
                self.metric = event.metric
            case BaselineStarted():
                self._lasting(f"baseline  training for {_count(event.epochs, 'epoch')}")
            case BaselineEpoch():
                self._passing(
                    f"baseline  epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}  "
                    f"validation {self.metric.text(event.metric)}"
                )
            case BaselineReady():
                self._lasting(
                    f"baseline ({event.source}): {with_interval(self.metric, event.metric, event.interval)} "
                    f"on {event.examples} validation examples, "
                    f"{event.macs:,} MACs, {event.parameters:,} parameters"
                )
            case TrialStarted():
                self._passing(f"trial {event.trial}  {event.shape}, {percent(event.macs_share)} of the MACs")
            case ScreeningStarted():
                done = f", {event.judged} are judged already" if event.judged else ""
                self._lasting(f"widths  judging {_count(event.candidates, 'candidate')}, untrained{done}")
            case Screened():
                line = f"widths {event.candidate}/{event.candidates}  least validation loss {event.best:.4f}, untrained"
                (self._lasting if event.candidate == event.candidates else self._passing)(line)
            case TrialReport():
                now, folded = self.metric.text(event.metric), self.metric.text(event.folded_metric)
                self._passing(
                    f"trial {event.trial}  {event.unit} {event.number}/{event.total}  α {event.alpha:.3f}  "
                    f"validation {now}, at α = 0 {folded}{self._best()}"
                )
            case TrialEnded():
                self._ended(event)
            case FinalistEnded():
                outcome = "diverged"
                if event.metric is not None:
                    outcome = f"{self.metric.text(event.metric)} on {event.examples} validation examples"
                self._lasting(
                    f"finalists {event.run}/{event.runs}  trial {event.trial} again, seed {event.seed}: {outcome}  "
                    f"({event.seconds:.1f} s)"
                )
            case Notice():
                self._lasting(event.text)

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        self(Notice(text))

    def _ended(self, event: TrialEnded) -> None:
        self.best = event.best
        count = f"[{event.finished}/{self.trials}]"
        if event.metric is None:
            outcome = "stopped early" if event.state == "pruned" else "failed"
            note = f": {event.note}" if event.note else ""
            self._lasting(f"{count} trial {event.trial}  {outcome}{note}  ({event.shape}, {event.seconds:.1f} s)")
            return
        notes = [event.note] if event.note else []
        if not event.within:
            notes.append("over the budget")
        self._lasting(
            f"{count} trial {event.trial}  {self.metric.text(event.metric)} at {percent(event.macs_share or 0)} "
            f"of the MACs, {percent(event.parameters_share or 0)} of the parameters  "
            f"({', '.join([event.shape, f'{event.seconds:.1f} s', *notes])}){self._best()}"
        )

    def _best(self) -> str:
        return "" if self.best is None else f"  best: {self.metric.text(self.best.metric)} (trial {self.best.trial})"

    def _passing(self, line: str) -> None:
        if self.detail == "verbose":
            self._lasting(line)

    def _lasting(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
