"""The live display of a run, one process or many: what a terminal of 80 columns shows."""

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import termios
from contextlib import suppress

import pytest
from rich.console import Console
from screens import Screen

from branchfold.search.console.shown.live import LiveRun
from branchfold.search.console.shown.progress import Progress
from branchfold.search.console.shown.standing import Standing
from branchfold.search.events import (
    BaselineEpoch,
    BaselineReady,
    BaselineStarted,
    Best,
    CrewStarted,
    FinalistEnded,
    FinalistsStarted,
    Notice,
    Screened,
    ScreeningStarted,
    TrialEnded,
    TrialReport,
    TrialStarted,
    TrialTaken,
    WorkerTook,
)

READY = BaselineReady(0.9, None, 144, 1000, 100, "2 epochs")
ALPHAS = (1.0,) * 4 + (0.5,) * 4 + (0.0,) * 8
STARTED = TrialStarted(7, "linear", 0.25, ALPHAS)
LONG_AGO = Standing(4, (60.0, 100.0, 120.0, 200.0), Best(2, 0.96))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def report(number, alpha=0.25, folded=0.75, trial=7):
    return TrialReport(trial, "epoch", number, 8, 0.5, alpha, 0.8, folded)


def lines(run, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(run)
    shown = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, shown)) <= width
    return shown


def noted(run, *events):
    for event in events:
        run.note(event)
    return run


class TestOneProcess:
    def test_says_first_that_it_starts(self, clock):
        assert lines(LiveRun(4, clock=clock))[0].endswith("starting")

    def test_the_baseline_and_the_widths_have_bars(self, clock):
        run = noted(LiveRun(4, clock=clock), BaselineStarted(8))
        for epoch in (1, 2, 3, 4):
            clock.now += 60
            run.note(BaselineEpoch(epoch, 8, 0.51234, 0.875))
        clock.now += 30
        (line,) = lines(run)
        assert line.startswith("baseline  █████·····  4/8")
        assert line.endswith("  validation 87.5 %, loss 0.512  about 4 min left")
        noted(run, READY, ScreeningStarted(10, 30), Screened(15, 30, 1.5))
        assert lines(run)[0].endswith("  15/30  least validation loss 1.5000")
        assert lines(run)[0].count("█") == lines(run)[0].count("·")

    def test_a_trial_with_its_schedule_and_the_place_now(self, clock):
        run = noted(LiveRun(20, LONG_AGO, clock=clock), READY, TrialTaken(7), STARTED, report(0, 1.0, 0.4))
        clock.now += 30
        run.note(report(2, 1.0))
        clock.now += 10
        study, head, trial = lines(run)
        # 15 that wait, of 90 to 140 s, and 50 to 100 s (by its pace 80) of the one that runs.
        assert study.startswith("study  ██········")
        assert study.endswith("  4/20  best 96.0 % (trial 2)  23 to 37 min left")
        assert head.split("  ")[0] == "trial"
        assert trial.split() == ["7", "██▌·······", "2/8", "1.000", "75.0", "%", "40", "████│▅▅▅▅▁▁▁▁▁▁▁▁"]
        assert lines(run, 120)[2].endswith("linear, 25.0 % of the MACs")
        assert "│" not in lines(run, 70)[2]

    def test_of_a_schedule_that_follows_losses_the_part_that_is_known(self, clock):
        run = noted(LiveRun(20, clock=clock), READY, TrialTaken(7), TrialStarted(7, "plateau", 0.25))
        assert "│" not in "".join(lines(run))
        noted(run, report(0, 1.0), report(1, 0.5))
        assert lines(run)[2].endswith("█▅│")

    def test_nothing_is_foretold_of_too_few(self, clock):
        run = noted(LiveRun(20, Standing(2, (60.0, 70.0), None), clock=clock), READY, TrialTaken(7), STARTED)
        assert lines(run)[0].endswith("  2/20")
        run.note(TrialEnded(7, "complete", 0.8, 0.25, 0.3, "linear", 80.0, finished=3, best=Best(7, 0.8)))
        assert lines(run) == [lines(run)[0]]
        assert lines(run)[0].endswith("  3/20  best 80.0 % (trial 7)  18 to 21 min left")

    def test_finalists_follow(self, clock):
        run = noted(LiveRun(4, LONG_AGO, finalists=True, clock=clock), READY)
        assert lines(run)[0].endswith("4/4  best 96.0 % (trial 2) + finalists")
        noted(run, FinalistsStarted(4), report(0, trial=2))
        assert lines(run)[0].endswith("  0/4  best 96.0 % (trial 2)  6 to 9 min left")
        assert lines(run)[2].split()[:3] == ["2", "··········", "0/8"]
        run.note(FinalistEnded(2, 1_000_000, 1, 4, 0.9, 144, 100.0))
        assert len(lines(run)) == 1
        assert "  1/4  " in lines(run)[0]

    def test_a_trial_that_belongs_to_no_study_has_no_bar_of_one(self, clock):
        run = noted(LiveRun(None, clock=clock), report(0), report(1))
        assert lines(run)[1].split()[:3] == ["7", "█▎········", "1/8"]

    def test_where_there_are_no_block_characters(self, clock):
        run = noted(LiveRun(20, LONG_AGO, blocks=False, clock=clock), READY, TrialTaken(7), STARTED, report(2))
        shown = "\n".join(lines(run))
        assert "####|----________" in shown
        assert shown.replace("α", "").isascii()


class TestManyWorkers:
    def test_a_row_for_each_follows_its_trial(self, clock):
        run = noted(LiveRun(40, LONG_AGO, clock=clock), READY, CrewStarted(2), WorkerTook(1, 7), STARTED, report(3))
        shown = lines(run)
        assert shown[0].endswith("4/40  best 96.0 % (trial 2)  27 to 42 min left")
        assert shown[2].split() == ["0", *["-"] * 7]
        assert shown[3].split()[:4] == ["1", "7", "███▊······", "3/8"]
        run.note(TrialEnded(7, "complete", 0.8, 0.25, 0.3, "linear", 2.0, finished=5, best=Best(2, 0.96)))
        assert lines(run)[3].split() == ["1", *["-"] * 7]

    def test_the_last_trial_may_run_in_the_first_process(self, clock):
        run = noted(LiveRun(4, clock=clock), READY, CrewStarted(2), WorkerTook(1, 6), TrialTaken(7), report(1))
        assert lines(run)[1].startswith("trial")
        assert lines(run)[2].split()[0] == "7"


EVENTS = [READY, TrialTaken(7), STARTED, report(2), Notice("a line that stays"), report(4)]


def terminal(**options):
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=25, **options)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_leaves_the_lines_that_stay_and_a_cursor(error):
    console = terminal(color_system=None)
    progress = Progress(console, 3)
    try:
        with progress:
            for event in EVENTS:
                progress(event)
            progress.live.refresh()
            before = Screen().feed(console.file.getvalue())
            assert "│" in before.shown[-1]
            assert not before.cursor
            if error is not None:
                raise error
    except KeyboardInterrupt:
        console.print("stopped")
    after = Screen().feed(console.file.getvalue())
    assert after.cursor
    assert after.shown[1:] == ["a line that stays", *(["stopped"] if error is not None else [])]
    assert after.shown[0].startswith("baseline (2 epochs): 90.0 %")


def test_no_colour_where_none_is_wanted():
    for environment, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        console = terminal(_environ=environment)
        console.print(noted(LiveRun(8, LONG_AGO), READY))
        assert ("\x1b[36m" in console.file.getvalue()) is coloured


def test_elsewhere_there_are_plain_lines():
    console = Console(file=io.StringIO(), width=100)
    with Progress(console, 3) as progress:
        for event in (CrewStarted(2), *EVENTS[1:]):
            progress(event)
    assert progress.live is None
    assert console.file.getvalue() == "a line that stays\n"


@pytest.mark.slow
def test_ctrl_c_leaves_a_clean_screen(toml, command_line, tmp_path):
    command, environment = command_line
    (tmp_path / "tiny.toml").write_text(toml)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        [*command, "run", "tiny.toml", "--set", "trial.epochs=200", "--workers", "1"],
        cwd=tmp_path,
        env={**environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    written = b""
    while b" 3/200" not in written:
        written += os.read(master, 4096)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # the other end is closed
        while more := os.read(master, 4096):
            written += more
    os.close(master)
    assert process.wait(timeout=30) == 130
    screen = Screen().feed(written.decode())
    assert screen.cursor
    assert screen.shown[0] == "study tiny: loading torch …"
    assert screen.shown[-1].startswith("stopped: 0 of 3 trials are finished and kept")
    assert screen.shown[-2].startswith("baseline (4 epochs): ")
    assert screen.erased > 0
