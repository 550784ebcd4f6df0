"""Progress for people: a status line on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from ..events import BaselineEpoch, BaselineReady, Event, Notice, Screened, TrialEnded, TrialReport, TrialStarted


class Progress:
    """Shows a run's events; the best trial so far stands beside every line about a trial.

    Args:
        console: where to; its `is_terminal` decides between a status line and plain lines.
        trials: how many the study is to have.
        finished: how many it has already.
        best: (trial, accuracy, share of the MACs) of the best one so far: of equal ones, that of fewest MACs.
    """

    def __init__(
        self, console: Console, trials: int, finished: int = 0, best: tuple[int, float, float] | None = None
    ) -> None:
        self.console, self.trials, self.finished, self.best = console, trials, finished, best
        self.status: Status | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.status = self.console.status("starting")
            self.status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.status is not None:
            self.status.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case BaselineEpoch():
                self._passing(
                    f"baseline  epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}  "
                    f"validation {percent(event.accuracy)}"
                )
            case BaselineReady():
                self._lasting(
                    f"baseline ({event.source}): {percent(event.accuracy)} on {event.examples} validation examples, "
                    f"{event.macs:,} MACs, {event.parameters:,} parameters"
                )
            case TrialStarted():
                self._passing(f"trial {event.trial}  {event.shape}, {percent(event.macs_share)} of the MACs")
            case Screened():
                line = f"widths {event.candidate}/{event.candidates}  least validation loss {event.best:.4f}, untrained"
                (self._lasting if event.candidate == event.candidates else self._passing)(line)
            case TrialReport():
                self._passing(
                    f"trial {event.trial}  {event.unit} {event.number}/{event.total}  α {event.alpha:.3f}  "
                    f"validation {percent(event.accuracy)}, at α = 0 {percent(event.folded_accuracy)}{self._best()}"
                )
            case TrialEnded():
                self._ended(event)
            case Notice():
                self._lasting(event.text)

    def _ended(self, event: TrialEnded) -> None:
        if event.state != "fail":
            self.finished += 1
        count = f"[{self.finished}/{self.trials}]"
        if event.accuracy is None:
            outcome = "stopped early" if event.state == "pruned" else "failed"
            note = f": {event.note}" if event.note else ""
            self._lasting(f"{count} trial {event.trial}  {outcome}{note}  ({event.shape}, {event.seconds:.1f} s)")
            return
        share = event.macs_share or 0.0
        notes = [event.note] if event.note else []
        if not event.within:
            notes.append("over the budget")
        elif self.best is None or (event.accuracy, -share) > (self.best[1], -self.best[2]):
            self.best = (event.trial, event.accuracy, share)
        self._lasting(
            f"{count} trial {event.trial}  {percent(event.accuracy)} at {percent(event.macs_share or 0)} of the MACs, "
            f"{percent(event.parameters_share or 0)} of the parameters  "
            f"({', '.join([event.shape, f'{event.seconds:.1f} s', *notes])}){self._best()}"
        )

    def _best(self) -> str:
        return "" if self.best is None else f"  best: {percent(self.best[1])} (trial {self.best[0]})"

    def _passing(self, line: str) -> None:
        if self.status is None:
            self._lasting(line)
        else:
            self.status.update(line)

    def _lasting(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def percent(share: float) -> str:
    """A share of 1 as a percentage with one digit, "97.3 %"."""
    return f"{100 * share:.1f} %"
