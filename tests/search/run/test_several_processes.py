"""Running studies in several processes: how many, how they share trials, how they end."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial
from watching import states, until

from branchfold.errors import StudyError
from branchfold.search.crew import crew, memory
from branchfold.search.crew.sharing import Share
from branchfold.search.events import Notice
from branchfold.search.run import processes
from branchfold.search.run import worker as runner
from branchfold.search.run.stopping import trials_left
from branchfold.studies.database.places.store import artifact_folder
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import finished_trials
from branchfold.studies.definition.reading import parse_definition

URL = "sqlite:///s.db"


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
