"""Running studies: in this process, stopped and resumed, killed, in several processes."""

import dataclasses
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState, create_trial
from sqlalchemy import text

from branchfold.errors import BranchfoldError, DataError, StudyError
from branchfold.search.crew import crew, memory
from branchfold.search.crew.sharing import Share
from branchfold.search.data import opening
from branchfold.search.data import splits as data
from branchfold.search.data.known.source import Source
from branchfold.search.events import (
    BaselineEpoch,
    BaselineReady,
    Notice,
    Screened,
    StudyMetric,
    TrialEnded,
    TrialStarted,
)
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.process.signals import STOPPING
from branchfold.search.run import processes
from branchfold.search.run import worker as runner
from branchfold.search.run.processes import run_study
from branchfold.search.run.stopping import trials_left
from branchfold.search.space import SearchSpace
from branchfold.search.trial.baseline import make_baseline
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import finished_trials, measurement_of
from branchfold.studies.definition.reading import parse_definition
from branchfold.studies.metric import ACCURACY

BELATED = """
import sys, json
from branchfold.studies.database import storage as database, trials
from branchfold.search.run import processes as workers
database.HEARTBEAT_INTERVAL, database.GRACE_PERIOD = 1, 3
trials.GRACE_PERIOD = workers.GRACE_PERIOD = 3
from branchfold.studies.definition.reading import load_definition
import torch; torch.set_num_threads(1)
def notify(event): print(type(event).__name__, getattr(event, "trial", ""), getattr(event, "number", ""), flush=True)
study = workers.run_study(load_definition("tiny.toml"), "sqlite:///s.db", workers=1, notify=notify)
"""


URL = "sqlite:///s.db"

# A trial is one step of minutes in C, which no signal's handler interrupts.
LONG_STEP = """
import hashlib
from branchfold.search.run import worker
def run_trial(*args, **kwargs):
    print("in the step", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
worker.run_trial = run_trial
from branchfold.search.console.commands import main
main()
"""


# Every dimension of the tiny study in steps, as a grid needs it.
STEPS = {
    "space__keep": {"range": {"low": 0.1, "high": 1.0, "step": 0.1}},
    "space__training": {"lr": 0.1},
    "space__schedule": {"shape": "instant", "fade": 0.5},
}


def states(study):
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def kinds(events, kind):
    return [event for event in events if isinstance(event, kind)]


def take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def until(process, wanted):
    """Reads the process's lines until one holds all words of `wanted`."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if all(word in line for word in wanted):
            return
    raise AssertionError(f"no line with {wanted}: {''.join(seen)}")


class TestOneProcess:
    def test_runs_to_its_number_and_not_beyond(self, study_run):
        random = {"startup_trials": 10}  # a model of the first trials would not repeat them anyway
        study, url, events = study_run(search=random)
        assert states(study) == {"COMPLETE": 3}
        assert [event.trial for event in kinds(events, TrialStarted)] == [0, 1, 2]
        assert [event.finished for event in kinds(events, TrialEnded)] == [1, 2, 3]
        best = max(study.trials, key=lambda trial: (trial.value, -trial.user_attrs["macs"]))
        assert kinds(events, TrialEnded)[-1].best == (best.number, best.value)
        assert len(kinds(events, BaselineEpoch)) == 4
        for trial, event in zip(study.trials, kinds(events, TrialEnded), strict=True):
            measured = measurement_of(trial)
            assert 0.24 < measured.macs_share <= 0.25
            assert trial.value == measured.metric == event.metric == trial.intermediate_values[2]
            assert trial.user_attrs["folding_error"] < 1e-9
            assert trial.user_attrs["seed"] == trial.number
            assert trial.user_attrs["recipe"]["training"]["lr"] == trial.params["training.lr"]
            assert (artifact_folder(url) / trial.user_attrs["network"]).is_file()

        again, _, later = study_run(url=url, search=random)
        assert states(again) == {"COMPLETE": 3}
        assert later == [
            Notice("study tiny has 3 trials finished of 3"),
            StudyMetric(ACCURACY),
        ]

        more, _, later = study_run(url=url, search=random, study={"trials": 5})
        assert states(more) == {"COMPLETE": 5}
        assert [event.trial for event in kinds(later, TrialStarted)] == [3, 4]
        # The baseline of the first run stays, and no proposal comes twice.
        (kept,) = kinds(later, BaselineReady)
        assert kept.source == "from an earlier run"
        assert not kinds(later, BaselineEpoch)
        assert kept.metric == kinds(events, BaselineReady)[0].metric
        rates = [trial.params["training.lr"] for trial in more.trials]
        assert len(set(rates)) == 5

    def test_same_seed_same_study_other_seed_another(self, study_run, tmp_path):
        two = {"trials": 2}
        first, again = (study_run(url=f"sqlite:///{tmp_path}/{name}.db", study=two)[0] for name in "ab")
        other, _, _ = study_run(url=f"sqlite:///{tmp_path}/c.db", study={"trials": 1, "seed": 1})
        assert [trial.params for trial in first.trials] == [trial.params for trial in again.trials]
        assert [trial.value for trial in first.trials] == [trial.value for trial in again.trials]
        assert other.trials[0].params != first.trials[0].params

    def test_a_grid_ends_when_it_is_through(self, study_run):
        small = {
            "search": {"sampler": "grid"},
            "space__schedule": {"shape": ["instant", "linear"], "fade": [0.25, 0.5], "defaults": True},
            "space__keep": {"per": "network", "range": 0.5},
            "space__training": {"lr": 0.02, "restarts": "none"},
            "space__blending": {"mode": "probability"},
            "space__stages": {"order": "forward"},
        }
        study, url, events = study_run(study={"trials": 9}, **small)
        assert sorted(t.params.get("schedule.fade", 0.0) for t in study.trials) == [0.0, 0.25, 0.5]
        assert events[-1] == Notice("the grid has no more than 3 trials")
        again, _, _ = study_run(url=url, study={"trials": 9}, **small)
        assert len(again.trials) == 3

    def test_never_sees_the_test_split(self, study_run, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("the search asked for the test split")

        monkeypatch.setattr(data, "load_test", refuse)
        monkeypatch.setattr(opening, "load_test", refuse)
        read = Source.read
        monkeypatch.setattr(
            Source, "read", lambda self, root, part: read(self, root, part) if part == "train" else refuse()
        )
        study, _, _ = study_run(study={"trials": 1})
        assert states(study) == {"COMPLETE": 1}

    def test_lost_baseline_is_told(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        baseline = study.user_attrs["baseline"]
        (artifact_folder(url) / baseline["network"]).unlink()
        (artifact_folder(url) / baseline["copy"]).rename(artifact_folder(url) / "elsewhere")
        with pytest.raises(StudyError, match=r"the baseline of 'tiny' is missing.*put the folder `artifacts` back"):
            study_run(url=url, study={"trials": 2})
        assert states(study) == {"COMPLETE": 1}
        (artifact_folder(url) / "elsewhere").rename(artifact_folder(url) / baseline["copy"])
        _, _, events = study_run(url=url, study={"trials": 2})
        assert any("was restored from its second copy" in event.text for event in kinds(events, Notice))
        assert kinds(events, BaselineReady)[0].source == "from an earlier run"

    def test_a_finished_study_ends_the_trial_of_a_process_that_died_before_its_first_heartbeat(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        with pytest.warns(UserWarning, match="Heartbeat"):
            study.ask()
        study_run(url=url, study={"trials": 1})
        assert states(study) == {"COMPLETE": 1, "RUNNING": 1}  # it may be about to give one
        with open_storage(url, create=False).engine.begin() as connection:
            connection.execute(text("UPDATE trials SET datetime_start = '2020-01-01 00:00:00' WHERE number = 1"))
        study_run(url=url, study={"trials": 1})
        assert states(study) == {"COMPLETE": 1, "FAIL": 1}

    def test_another_definition_is_refused(self, study_run):
        study, url, _ = study_run(study={"trials": 1})
        with pytest.raises(StudyError, match=r"exists with another definition: trial.epochs was 2 and is now 3"):
            study_run(url=url, trial={"epochs": 3})
        assert states(study) == {"COMPLETE": 1}

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": {"num_classes": 7}},
            {"space__schedule": {"knee": {"threshold": 1.5}}},
            {"study": {"budget": {"macs": 0.001}}},
            {"baseline": {"epochs": None, "checkpoint": "none.pt"}},
            {"search": {"sampler": "grid"}},
            {"search": {"sampler": "grid"}, "screening": {"candidates": 5}, **STEPS},
        ],
        ids=str,
    )
    def test_mistakes_found_by_running_leave_nothing_behind(self, study_run, changes, tmp_path):
        url = f"sqlite:///{tmp_path}/s.db"
        messages = (
            r"set model.num_classes|knee's threshold|cannot be met|no checkpoint|grid\" needs steps|cannot be screened"
        )
        with pytest.raises(BranchfoldError, match=messages):
            study_run(url=url, **changes)
        assert list(tmp_path.iterdir()) == []
        study_run(url=url, study={"trials": 1})

    def test_a_place_for_networks_that_will_not_do_leaves_no_database(self, study_run, tmp_path):
        (tmp_path / "artifacts").touch()
        with pytest.raises(StudyError, match="artifacts, where the study's networks are to be kept, is no folder"):
            study_run()
        assert [file.name for file in tmp_path.iterdir()] == ["artifacts"]

    def test_a_baseline_that_diverged_is_not_kept_and_its_study_is_not_made(self, study_run, tmp_path):
        url = f"sqlite:///{tmp_path}/s.db"
        with pytest.raises(StudyError, match=r"the baseline diverged in epoch \d: .*; lower baseline.lr = 1e\+30"):
            study_run(url=url, baseline={"lr": 1e30})
        assert optuna.get_all_study_names(open_storage(url, create=False)) == []
        assert list(artifact_folder(url).iterdir()) == []
        study_run(url=url, study={"trials": 1})

    def test_a_deleted_studys_screening_is_not_the_next_ones(self, study_run):
        small = {"study": {"trials": 1}, "screening": {"candidates": 2}, "trial": {"epochs": 1}}
        _, url, events = study_run(**small)
        assert [event.candidate for event in kinds(events, Screened)] == [1, 2]
        storage = open_storage(url, create=False)
        optuna.delete_study(study_name="tiny", storage=storage)
        study, _, events = study_run(url=url, model={"width": 0.375}, **small)
        assert events.count(Notice("deleted tiny-screening: it belonged to a study tiny that is no more")) == 1
        assert [event.candidate for event in kinds(events, Screened)] == [1, 2]
        screening = load_study(storage, "tiny-screening")
        assert screening.user_attrs["definition"]["model"]["width"] == 0.375
        assert screening.user_attrs["identity"] == study.user_attrs["identity"]

    def test_missing_data_without_a_network(self, study_run, monkeypatch, tmp_path):
        def refuse(*args, **kwargs):
            raise OSError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        changes = {"model": {"factory": "vgg16"}, "data": {"name": "cifar10", "root": str(tmp_path / "none")}}
        with pytest.raises(DataError, match=r"cifar10 is not in .*none and cannot be downloaded.*--data-root"):
            study_run(**changes)
        assert not (tmp_path / "none").exists()

    def test_baseline_of_a_faster_process_is_used(self, study_run, monkeypatch):
        """While this process trains a baseline another one saves its own, which every trial is measured against."""

        def beaten(problem, path, notify, **options):
            record = make_baseline(problem, path, notify, **options)
            study = open_study(open_storage(url, create=False), problem.definition)
            name = (artifact_folder(url) / "first").name
            (artifact_folder(url) / name).write_bytes(path.read_bytes())
            study.set_user_attr("baseline", {**record, "metric": 0.123, "network": name})
            return record

        _, url, _ = study_run(study={"trials": 1, "name": "other"})
        monkeypatch.setattr(runner, "make_baseline", beaten)
        study, _, events = study_run(url=url, study={"trials": 1})
        assert kinds(events, BaselineReady)[0].metric == 0.123
        assert study.user_attrs["baseline"]["network"] == "first"


class TestFailures:
    def test_diverging_trials_are_pruned_and_end_nothing(self, study_run):
        study, _, events = study_run(space__training={"lr": 1e12}, study={"trials": 2})
        assert states(study) == {"PRUNED": 2}
        assert all("the training diverged" in event.note for event in kinds(events, TrialEnded))

    def test_several_in_a_row_end_the_run(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise StudyError("no room left")

        monkeypatch.setattr(runner, "run_trial", fail)
        with pytest.raises(StudyError, match="3 trials failed in a row, the last one: no room left"):
            study_run(study={"trials": 10})

    def test_failing_proposals_count_as_well(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise StudyError("nothing fits")

        monkeypatch.setattr(SearchSpace, "propose", fail)
        with pytest.raises(StudyError, match=r"3 trials failed in a row.*nothing fits"):
            study_run(study={"trials": 10})

    def test_single_ones_do_not_count_and_are_made_up_for(self, study_run, monkeypatch):
        real, calls = runner.run_trial, []

        def sometimes(*args, **kwargs):
            calls.append(1)
            if len(calls) % 2:
                raise StudyError("a hiccup")
            return real(*args, **kwargs)

        monkeypatch.setattr(runner, "run_trial", sometimes)
        study, _, events = study_run()
        assert states(study) == {"COMPLETE": 3, "FAIL": 3}
        assert study.trials[0].user_attrs["note"] == "a hiccup"
        assert [event.state for event in kinds(events, TrialEnded)] == ["fail", "complete"] * 3

    def test_an_error_of_the_program_is_raised(self, study_run, monkeypatch):
        def fail(*args, **kwargs):
            raise ZeroDivisionError

        monkeypatch.setattr(runner, "run_trial", fail)
        with pytest.raises(ZeroDivisionError):
            study_run()


class TestObjectives:
    def test_two_give_a_pareto_front(self, study_run):
        study, _, _ = study_run(
            study={"objectives": ["accuracy", "macs"], "budget": {}, "trials": 4}, space__keep={"per": "network"}
        )
        assert states(study) == {"COMPLETE": 4}
        points = [(trial.user_attrs["metric"], trial.user_attrs["macs"]) for trial in study.trials]
        assert [tuple(trial.values) for trial in study.trials] == points
        front = {
            i for i, (a, m) in enumerate(points) if not any(b >= a and n <= m and (b, n) != (a, m) for b, n in points)
        }
        assert {trial.number for trial in study.best_trials} == front

    def test_diverged_trials_are_no_trouble_there(self, study_run):
        study, _, _ = study_run(study={"objectives": ["accuracy", "macs"], "trials": 1}, space__training={"lr": 1e12})
        assert states(study) == {"PRUNED": 1}


class TestStopped:
    def test_ctrl_c_keeps_what_is_finished_and_goes_on(self, toml, define, command_line, tmp_path):
        command, environment = command_line
        changes = {"trial": {"epochs": 8}, "search": {"pruner": "none"}}
        (tmp_path / "tiny.toml").write_text(toml)
        settings = [
            "--verbose",
            "--set",
            "trial.epochs=8",
            "--set",
            'search.pruner="none"',
            "--storage",
            "sqlite:///s.db",
        ]
        process = subprocess.Popen(
            [*command, "run", "tiny.toml", *settings],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(process, ["trial 1 ", "epoch 2/8"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopped: 1 of 3 trials are finished and kept; the same command goes on from here" in out
        assert err == ""
        assert not (tmp_path / "tiny.safetensors").exists()

        url = f"sqlite:///{tmp_path}/s.db"
        study = load_study(open_storage(url, create=False), "tiny")
        assert states(study) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
        interrupted, waiting = study.trials[1:]
        assert waiting.system_attrs["fixed_params"] == interrupted.params

        # The queued parameters are what is looked at.
        events = []
        run_study(define(**changes), url, workers=1, notify=events.append)
        assert states(study) == {"COMPLETE": 3, "FAIL": 1}
        assert study.trials[2].params == interrupted.params
        assert study.trials[2].user_attrs["repeats"] == 1

    def test_a_second_ctrl_c_ends_at_once_also_in_a_long_step(self, toml, tmp_path):
        (tmp_path / "tiny.toml").write_text(toml)
        arguments = ["run", "tiny.toml", "--set", "baseline.epochs=1", "--storage", URL]
        process = subprocess.Popen(
            [sys.executable, "-c", LONG_STEP, *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(process, ["in the step"])
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (130, "")
        assert out == "stopped: finished trials are kept; the same command goes on from here\n"
        study = load_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=False), "tiny")
        assert states(study) == {"FAIL": 1, "WAITING": 1}

    @pytest.mark.slow
    def test_a_closed_terminal_is_like_a_signal(self, toml, command_line, tmp_path):
        """Its shell's SIGHUP finds no terminal to write to any more."""
        command, environment = command_line
        (tmp_path / "tiny.toml").write_text(toml)
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*command, "run", "tiny.toml", "--set", "trial.epochs=200", "--storage", URL],
            cwd=tmp_path,
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        shown = b""
        while b" 3/200" not in shown:
            shown += os.read(master, 4096)
        os.close(master)
        assert process.wait(timeout=30) == 129
        study = load_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=False), "tiny")
        assert states(study)["RUNNING"] == 0
        assert states(study)["WAITING"] == 1

    @pytest.mark.slow
    def test_a_killed_trial_is_run_again(self, toml, tmp_path):
        (tmp_path / "tiny.toml").write_text(toml.replace("epochs = 2", "epochs = 20"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", BELATED]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        until(process, ["TrialReport 1 3"])
        process.kill()
        process.wait()
        process.stdout.close()
        study = load_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=False), "tiny")
        assert states(study) == {"COMPLETE": 1, "RUNNING": 1}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120, stdout=subprocess.PIPE)
        assert states(study)["COMPLETE"] == 3
        assert study.trials[1].state == TrialState.FAIL
        assert study.trials[1].params in [trial.params for trial in study.trials[2:]]

    def test_handlers_are_put_back(self, study_run):
        before = [signal.getsignal(number) for number in STOPPING]
        study_run(study={"trials": 1})
        assert [signal.getsignal(number) for number in STOPPING] == before


def test_two_runs_of_one_study_count_and_compare_together(define, problem, baseline, tmp_path):
    """Each in turn runs a trial; what it tells is what the database knows of both."""
    definition = define(study={"trials": 3})
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    problem, ended = dataclasses.replace(problem, definition=definition), []
    workers = [runner.Worker(problem, storage, ended.append, number) for number in range(2)]
    with quiet_optuna():
        for target in (1, 2, 3):
            workers[target % 2].run(target, baseline)
    ended = kinds(ended, TrialEnded)
    assert [event.finished for event in ended] == [1, 2, 3]
    values = [trial.value for trial in workers[0].study.trials]
    assert [event.metric for event in ended] == values
    assert [event.best.metric for event in ended] == [max(values[: i + 1]) for i in range(3)]


class TestNumberOfWorkers:
    @pytest.fixture
    def crews(self, monkeypatch):
        """How many workers were started, instead of starting them; their trials end at once."""
        started = []

        def add_trials(study, target):
            for _ in range(trials_left(study, target)):
                study.add_trial(create_trial(state=TrialState.PRUNED))

        def run_crew(study, definition, url, *, shares, target, patience, notify, start):
            started.append(len(shares))
            add_trials(study, target)

        monkeypatch.setattr(processes, "run_crew", run_crew)
        monkeypatch.setattr(processes, "cores", lambda: 2)
        monkeypatch.setattr(
            runner.Worker, "run", lambda worker, target, baseline, patience: add_trials(worker.study, target)
        )
        return started

    def test_is_no_more_than_trials_are_left(self, study_run, crews):
        short = {"baseline": {"epochs": 1}}
        _, url, events = study_run(workers=1000, **short)
        assert crews == [3]
        assert Notice("--workers 3 instead of 1000: no more trials are left") in events
        warning = Notice("3 workers share 2 cores: more than one a core slows all of them down")
        assert events.count(warning) == 1
        _, _, events = study_run(workers=1000, url=url, study={"trials": 5}, **short)
        assert crews == [3, 2]
        assert warning not in events
        study, _, _ = study_run(workers=1000, url=url, study={"trials": 6}, **short)
        assert crews == [3, 2]  # the last one runs in this process
        assert states(study) == {"PRUNED": 6}

    def test_more_than_the_memory_bears_is_refused_before_anything_starts(
        self, study_run, crews, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(memory, "available_memory", lambda: 5 * 2**29)
        monkeypatch.setattr(memory, "need_of_worker", lambda problem: 2**30)
        message = r"3 workers need 3.0 GiB of memory, 1.0 GiB each, and 2.5 GiB are free: give --workers 2 or fewer"
        with pytest.raises(StudyError, match=message):
            study_run(workers=3)
        assert crews == []
        assert not list(tmp_path.iterdir())
        study_run(workers=2, baseline={"epochs": 1})
        assert crews == [2]


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_workers_end_with_their_killed_parent(self, toml, command_line, ends, tmp_path):
        command, environment = command_line
        (tmp_path / "tiny.toml").write_text(toml)
        process = subprocess.Popen(
            [*command, "run", "tiny.toml", "-v", "--workers", "2", "--set", "trial.epochs=400", "--storage", URL],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        until(process, ["trial 1  epoch 1/400"])
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) == 2
        process.kill()
        process.wait()
        process.stdout.close()
        assert all(ends(int(worker), within=2) for worker in workers)

    def test_two_workers_share_the_trials(self, toml, command_line, tmp_path):
        command, environment = command_line
        (tmp_path / "tiny.toml").write_text(toml)
        start = time.monotonic()
        done = subprocess.run(
            [*command, "run", "tiny.toml", "--workers", "2", "--trials", "4", "--storage", "sqlite:///s.db"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), (done, time.monotonic() - start)
        study = load_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=False), "tiny")
        assert 4 <= len(finished_trials(study)) <= 5
        assert set(states(study)) <= {"COMPLETE", "PRUNED"}
        assert done.stdout.count("baseline (") == 1
        for trial in study.trials:
            assert f"trial {trial.number}  " in done.stdout
        assert len({trial.params["training.lr"] for trial in study.trials}) == len(study.trials)
        assert (tmp_path / "tiny.safetensors").is_file()

    @pytest.mark.slow
    @pytest.mark.parametrize("sign", ["baseline (", "trial 1  epoch 1/40"])
    def test_ctrl_c_in_a_terminal_reaches_all_and_leaves_no_trace(self, toml, command_line, tmp_path, sign):
        """The whole process group gets the signal: while the workers still import, or in the midst of their trials."""
        command, environment = command_line
        (tmp_path / "tiny.toml").write_text(toml)
        process = subprocess.Popen(
            [*command, "run", "tiny.toml", "-v", "--workers", "2", "--set", "trial.epochs=40", "--storage", URL],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        until(process, [sign])
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")
        assert out.splitlines()[-1].startswith("stopped: ")
        found = states(load_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=False), "tiny"))
        assert found["RUNNING"] == 0
        assert found["WAITING"] == found["FAIL"]

    @pytest.mark.slow
    def test_a_failing_worker_is_told_in_one_line(self, study_run, monkeypatch):
        study, url, _ = study_run(study={"trials": 1})
        for key in ("network", "copy"):
            (artifact_folder(url) / study.user_attrs["baseline"][key]).unlink()
        definition = parse_definition(
            {**study.user_attrs["definition"], "study": {"name": "tiny", "trials": 2, "budget": {"macs": 0.25}}}
        )
        with pytest.raises(StudyError, match="the baseline of 'tiny' is missing"):
            crew.run_crew(study, definition, url, shares=[Share(1)], target=2, patience=None, notify=lambda event: None)
        assert states(study) == {"COMPLETE": 1}


def test_results_are_json_and_small(study_run, tmp_path):
    study, _, _ = study_run(study={"trials": 1})
    attributes = study.trials[0].user_attrs
    assert len(json.dumps(attributes)) < 5000
    assert Path(artifact_folder(f"sqlite:///{tmp_path}/s.db") / attributes["network"]).stat().st_size < 100_000
    assert torch.get_num_threads() == 1
