import io

import pytest
from rich.console import Console

from branchfold.search.console.shown.numbers import percent
from branchfold.search.console.shown.progress import Progress
from branchfold.search.console.shown.standing import Standing
from branchfold.search.events import (
    BaselineEpoch,
    BaselineReady,
    BaselineStarted,
    Best,
    FinalistEnded,
    Notice,
    Screened,
    ScreeningStarted,
    StudyMetric,
    TrialEnded,
    TrialReport,
    TrialStarted,
)
from branchfold.search.process.signals import Interrupted
from branchfold.studies.metric import METRICS

FIRST, FOURTH = Best(0, 0.85), Best(4, 0.9)
EVENTS = [
    Notice("training on the CPU"),
    BaselineStarted(2),
    BaselineEpoch(1, 2, 0.51234, 0.875),
    BaselineReady(0.9, (0.843, 0.941), 144, 1234567, 89012, "2 epochs"),
    ScreeningStarted(0, 2),
    Screened(1, 2, 2.34567),
    Screened(2, 2, 1.5),
    TrialStarted(0, "knee", 0.349),
    TrialReport(0, "epoch", 1, 4, 0.9, 0.25, 0.8, 0.75),
    TrialEnded(0, "complete", 0.85, 0.349, 0.4, "knee", 2.34, finished=1, best=FIRST),
    TrialEnded(1, "pruned", None, None, None, "linear", 3.0, finished=2, best=FIRST),
    TrialEnded(2, "fail", None, None, None, "linear", 1.0, "a [bold]reason[/bold]", finished=2, best=FIRST),
    TrialEnded(5, "complete", 0.8, 0.35, 0.4, "step", 5.0, finished=5, best=FOURTH),
    TrialReport(6, "report", 0, 4, 0.0, 1.0, 0.9, 0.4),
    TrialEnded(6, "complete", 0.95, 0.35, 0.4, "step", 5.0, "same as trial 1", within=False, finished=6, best=FOURTH),
    FinalistEnded(4, 1000001, 2, 6, 0.875, 144, 3.21),
    FinalistEnded(0, 1000000, 3, 6, None, 144, 1.0),
]
LASTING = [
    "training on the CPU",
    "baseline  training for 2 epochs",
    "baseline (2 epochs): 90.0 % (95 % interval 84.3 to 94.1 %) on 144 validation examples, "
    "1,234,567 MACs, 89,012 parameters",
    "widths  judging 2 candidates, untrained",
    "widths 2/2  least validation loss 1.5000, untrained",
    "[1/10] trial 0  85.0 % at 34.9 % of the MACs, 40.0 % of the parameters  (knee, 2.3 s)  best: 85.0 % (trial 0)",
    "[2/10] trial 1  stopped early  (linear, 3.0 s)",
    "[2/10] trial 2  failed: a [bold]reason[/bold]  (linear, 1.0 s)",
    # Another process finished trials 3 and 4.
    "[5/10] trial 5  80.0 % at 35.0 % of the MACs, 40.0 % of the parameters  (step, 5.0 s)  best: 90.0 % (trial 4)",
    "[6/10] trial 6  95.0 % at 35.0 % of the MACs, 40.0 % of the parameters  "
    "(step, 5.0 s, same as trial 1, over the budget)  best: 90.0 % (trial 4)",
    "finalists 2/6  trial 4 again, seed 1000001: 87.5 % on 144 validation examples  (3.2 s)",
    "finalists 3/6  trial 0 again, seed 1000000: diverged  (1.0 s)",
]
PASSING = [
    "baseline  epoch 1/2  loss 0.512  validation 87.5 %",
    "widths 1/2  least validation loss 2.3457, untrained",
    "trial 0  knee, 34.9 % of the MACs",
    "trial 0  epoch 1/4  α 0.250  validation 80.0 %, at α = 0 75.0 %",
    "trial 6  report 0/4  α 1.000  validation 90.0 %, at α = 0 40.0 %  best: 90.0 % (trial 4)",
]


def shown(terminal, events=EVENTS, **options):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, highlight=False, color_system=None)
    with Progress(console, 10, **options) as progress:
        for event in events:
            progress(event)
    return out.getvalue()


def test_another_metric_is_told_by_its_unit():
    events = [
        StudyMetric(METRICS["reconstruction"]),
        BaselineReady(18.162, (17.9, 18.32), 144, 1000, 100, "2 epochs"),
        TrialEnded(0, "complete", 17.96, 0.3, 0.4, "knee", 2.34, finished=1, best=Best(0, 17.96)),
        StudyMetric(METRICS["segmentation"]),
        BaselineReady(0.8547, None, 144, 1000, 100, "2 epochs"),
    ]
    assert shown(False, events).splitlines() == [
        "baseline (2 epochs): 18.16 dB (95 % interval 17.90 to 18.32 dB) on 144 validation examples, 1,000 MACs, "
        "100 parameters",
        "[1/10] trial 0  17.96 dB at 30.0 % of the MACs, 40.0 % of the parameters  (knee, 2.3 s)  "
        "best: 17.96 dB (trial 0)",
        "baseline (2 epochs): 85.5 % (no interval: miou is one value of all examples together) on 144 validation "
        "examples, 1,000 MACs, 100 parameters",
    ]


def test_a_line_a_trial_where_there_is_no_terminal():
    assert shown(False).splitlines() == LASTING


def test_verbose_shows_what_passes_too():
    lines = shown(False, detail="verbose").splitlines()
    assert sorted(lines) == sorted([*LASTING, *PASSING])
    assert [line for line in lines if line in LASTING] == LASTING
    assert lines.index(PASSING[3]) == lines.index(LASTING[5]) - 1


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_shows_nothing(terminal):
    assert shown(terminal, detail="quiet") == ""


def test_a_terminal_keeps_the_lasting_lines_only():
    text = shown(True)
    assert "baseline (2 epochs): 90.0 %" in text
    assert "[5/10] trial 5" in text
    assert "widths 2/2" in text
    assert text.count("trial 0  knee, 34.9 %") <= 1


def test_a_terminal_that_is_gone_hides_no_interrupt():
    progress = Progress(Console(file=io.StringIO(), force_terminal=True, width=60), 10)

    def interrupted():
        with progress:
            progress.live.stop()
            progress.live.stop = gone
            raise Interrupted

    def gone():
        raise OSError(5, "Input/output error")

    with pytest.raises(Interrupted):
        interrupted()


def test_a_resumed_run_compares_with_what_was_there():
    reports = [event for event in EVENTS if isinstance(event, TrialReport)]
    text = shown(False, reports[:1], standing=Standing(2, (), Best(1, 0.95)), detail="verbose")
    assert text.rstrip().endswith("best: 95.0 % (trial 1)")


@pytest.mark.parametrize(("share", "text"), [(0.9731, "97.3 %"), (1.0, "100.0 %"), (0.0, "0.0 %")])
def test_percent(share, text):
    assert percent(share) == text
