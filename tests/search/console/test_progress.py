import io

import pytest
from rich.console import Console

from branchfold.search.console.progress import Progress, percent
from branchfold.search.events import (
    BaselineEpoch,
    BaselineReady,
    Notice,
    Screened,
    TrialEnded,
    TrialReport,
    TrialStarted,
)

EVENTS = [
    BaselineEpoch(1, 2, 0.51234, 0.875),
    BaselineReady(0.9, 144, 1234567, 89012, "2 epochs"),
    Screened(1, 2, 2.34567),
    Screened(2, 2, 1.5),
    TrialStarted(0, "knee", 0.349),
    TrialReport(0, "epoch", 1, 4, 0.9, 0.25, 0.8, 0.75),
    TrialEnded(0, "complete", 0.85, 0.349, 0.4, "knee", 2.34),
    TrialEnded(1, "pruned", None, None, None, "linear", 3.0),
    TrialEnded(2, "fail", None, None, None, "linear", 1.0, "a [bold]reason[/bold]"),
    TrialEnded(3, "complete", 0.8, 0.35, 0.4, "step", 5.0),
    TrialEnded(4, "complete", 0.9, 0.35, 0.4, "step", 5.0),
    TrialReport(5, "report", 0, 4, 0.0, 1.0, 0.9, 0.4),
    TrialEnded(6, "complete", 0.95, 0.35, 0.4, "step", 5.0, "same as trial 1", within=False),
    Notice("waiting"),
]


def shown(terminal, events=EVENTS, **options):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, highlight=False, color_system=None)
    with Progress(console, 10, **options) as progress:
        for event in events:
            progress(event)
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    assert shown(False).splitlines() == [
        "baseline  epoch 1/2  loss 0.512  validation 87.5 %",
        "baseline (2 epochs): 90.0 % on 144 validation examples, 1,234,567 MACs, 89,012 parameters",
        "widths 1/2  least validation loss 2.3457, untrained",
        "widths 2/2  least validation loss 1.5000, untrained",
        "trial 0  knee, 34.9 % of the MACs",
        "trial 0  epoch 1/4  α 0.250  validation 80.0 %, at α = 0 75.0 %",
        "[1/10] trial 0  85.0 % at 34.9 % of the MACs, 40.0 % of the parameters  (knee, 2.3 s)  best: 85.0 % (trial 0)",
        "[2/10] trial 1  stopped early  (linear, 3.0 s)",
        "[2/10] trial 2  failed: a [bold]reason[/bold]  (linear, 1.0 s)",
        "[3/10] trial 3  80.0 % at 35.0 % of the MACs, 40.0 % of the parameters  (step, 5.0 s)  best: 85.0 % (trial 0)",
        "[4/10] trial 4  90.0 % at 35.0 % of the MACs, 40.0 % of the parameters  (step, 5.0 s)  best: 90.0 % (trial 4)",
        "trial 5  report 0/4  α 1.000  validation 90.0 %, at α = 0 40.0 %  best: 90.0 % (trial 4)",
        "[5/10] trial 6  95.0 % at 35.0 % of the MACs, 40.0 % of the parameters  "
        "(step, 5.0 s, same as trial 1, over the budget)  best: 90.0 % (trial 4)",
        "waiting",
    ]


def test_a_terminal_keeps_the_lasting_lines_only():
    text = shown(True)
    assert "baseline (2 epochs): 90.0 %" in text
    assert "[4/10] trial 4" in text
    assert "widths 2/2" in text
    assert text.count("trial 0  knee, 34.9 %") <= 1


def test_resumed_run_counts_and_compares_with_what_was_there():
    text = shown(False, [EVENTS[6]], finished=3, best=(1, 0.95, 0.3))
    assert text.startswith("[4/10] trial 0  85.0 %")
    assert text.rstrip().endswith("best: 95.0 % (trial 1)")


@pytest.mark.parametrize(("share", "text"), [(0.9731, "97.3 %"), (1.0, "100.0 %"), (0.0, "0.0 %")])
def test_percent(share, text):
    assert percent(share) == text
