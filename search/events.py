"""What a run tells while it goes on; progress displays it, whichever process it comes from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..studies.metric import Metric


@dataclass(frozen=True)
class StudyMetric:
    """What the study measures of its networks; told before anything is."""

    metric: Metric


@dataclass(frozen=True)
class BaselineStarted:
    """The baseline's training begins."""

    epochs: int


@dataclass(frozen=True)
class BaselineEpoch:
    """An epoch of the baseline's training ended; `metric` is the study's, on the validation split."""

    epoch: int
    epochs: int
    loss: float
    metric: float


@dataclass(frozen=True)
class BaselineReady:
    """The baseline is there: trained, read from a checkpoint, or kept from an earlier run.

    `metric` is the study's on the `examples` of the validation split, with its 95 % interval where there is one.
    """

    metric: float
    interval: tuple[float, float] | None
    examples: int
    macs: int
    parameters: int
    source: str


@dataclass(frozen=True)
class TrialTaken:
    """A trial has its number, and a process that runs it."""

    trial: int


@dataclass(frozen=True)
class TrialStarted:
    """A trial has its recipe; `alphas` is the mean α of its groups at even distances from its beginning to its end.

    There are none where α follows from losses that are met on the way.
    """

    trial: int
    shape: str
    macs_share: float
    alphas: tuple[float, ...] = ()


@dataclass(frozen=True)
class CrewStarted:
    """So many workers run the study from here on, numbered from 0."""

    workers: int


@dataclass(frozen=True)
class WorkerTook:
    """A worker runs a trial."""

    worker: int
    trial: int


@dataclass(frozen=True)
class ScreeningStarted:
    """Candidates of widths are judged from here on; `judged` are already."""

    judged: int
    candidates: int


@dataclass(frozen=True)
class Screened:
    """The candidates of widths that were judged, by any process; `best` is the least validation loss, in nats."""

    candidate: int
    candidates: int
    best: float


@dataclass(frozen=True)
class TrialReport:
    """A trial passed a milestone; number 0 is the initialised network.

    `unit` is what the milestones count, "epoch" or "report"; `compute` is in epochs of the baseline's training.
    `metric` is the study's on the validation split at the current α, `folded_metric` that at α = 0. `loss` is the mean
    training loss since the report before, `rate` the learning rate; both are NaN before the first step.
    """

    trial: int
    unit: str
    number: int
    total: int
    compute: float
    alpha: float
    metric: float
    folded_metric: float
    loss: float = math.nan
    rate: float = math.nan


class Best(NamedTuple):
    """The best trial of a study, and its metric on the validation split."""

    trial: int
    metric: float


class TrialEnded(NamedTuple):
    """A trial ended; `metric` is None where it failed, `state` is "complete", "pruned" or "fail".

    `within` is whether the network meets the study's budget. `finished` counts the study's trials that had finished
    when this one ended, itself among them, and `best` is the best of the study: of all processes that run it.
    """

    trial: int
    state: str
    metric: float | None
    macs_share: float | None
    parameters_share: float | None
    shape: str
    seconds: float
    note: str = ""
    within: bool = True
    finished: int = 0
    best: Best | None = None


@dataclass(frozen=True)
class FinalistsStarted:
    """The study has its trials; so many runs of finalists come from here on, those that are done already among them."""

    runs: int


@dataclass(frozen=True)
class FinalistEnded:
    """A finalist, the recipe of a trial, was trained on another seed; `metric` is None where that diverged.

    `run` counts them, 1 … `runs`; `metric` is on the `examples` of the validation split.
    """

    trial: int
    seed: int
    run: int
    runs: int
    metric: float | None
    examples: int
    seconds: float


@dataclass(frozen=True)
class Notice:
    """A line for the user."""

    text: str


Event = (
    StudyMetric
    | BaselineStarted
    | BaselineEpoch
    | BaselineReady
    | CrewStarted
    | WorkerTook
    | ScreeningStarted
    | Screened
    | TrialTaken
    | TrialStarted
    | TrialReport
    | TrialEnded
    | FinalistsStarted
    | FinalistEnded
    | Notice
)
Listener = Callable[[Event], None]
