"""The table of workers, and where it is shown."""

import io

import pytest
from rich.console import Console

from branchfold.search.console.shown.outcome import failure_lines
from branchfold.search.console.shown.progress import Progress
from branchfold.search.crew.table import CrewTable
from branchfold.search.events import CrewStarted, Notice, TrialEnded, TrialReport, TrialStarted, WorkerTook
from branchfold.studies.database.retries import release_killed
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition
from branchfold.studies.metric import ACCURACY

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")

REPORT = TrialReport(7, "epoch", 3, 10, 0.5, 0.25, 0.8, 0.75)
EVENTS = [WorkerTook(1, 7), TrialStarted(7, "linear", 0.25), REPORT]


def shown(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


def test_a_row_for_each_worker_follows_its_trial():
    table = CrewTable(2)
    for event in EVENTS:
        table.note(event, ACCURACY)
    rows = [line.split("│") for line in shown(table).splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert cells[0] == ["0", *["-"] * 6]
    assert cells[1] == ["1", "7", "linear, 25.0 % of the MACs", "epoch 3/10", "0.250", "75.0 %", "0"]
    table.note(TrialEnded(7, "complete", 0.8, 0.25, 0.3, "linear", 2.0), ACCURACY)
    assert "epoch" not in shown(table)


def test_takes_the_status_lines_place_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console, 3) as progress:
        for event in (CrewStarted(2), *EVENTS, Notice("a line that stays")):
            progress(event)
        assert progress.table is not None
        assert "epoch 3/10" in progress.table.caption
        progress._live.refresh()
    out = console.file.getvalue()
    assert "a line that stays" in out
    assert "linear, 25.0 % of the MACs" in out


def test_elsewhere_there_are_plain_lines():
    console = Console(file=io.StringIO(), width=100)
    with Progress(console, 3) as progress:
        for event in (CrewStarted(2), *EVENTS, Notice("a line")):
            progress(event)
    assert progress.table is None
    assert console.file.getvalue() == "a line\n"


def test_failures_are_told_with_their_reasons(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=True), load_definition("digits"))
    assert failure_lines(study) == []
    for _ in range(25):
        trial = study.ask({})
        release_killed(study, trial.number, "silent")
    lines = failure_lines(study)
    assert lines[0] == "5 earlier ones, and"
    assert lines[1] == "trial 5 failed: its worker died: silent; it goes on as another trial"
    assert len(lines) == 21
