"""Runs that are stopped by signals or killed, and go on."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
from optuna.trial import TrialState
from watching import states, until

from branchfold.search.process.signals import STOPPING
from branchfold.search.run.processes import run_study
from branchfold.studies.database.storage import load_study, open_storage

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


def take_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


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
