"""Processes of a study are killed at random moments: nothing is lost, nothing is run twice, nothing is left."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition

# As many trials as no test waits for: there is always one to kill, however quick the machine is.
ENDLESS = 10000

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")

TRIVIAL = """
import sys, warnings
warnings.simplefilter("error")
import optuna
optuna.logging.set_verbosity(optuna.logging.CRITICAL)
from branchfold.studies.database.storage import load_study, open_storage
study = load_study(open_storage(sys.argv[1], create=False), "digits")
study.sampler = optuna.samplers.RandomSampler(seed=int(sys.argv[2]))
def objective(trial):
    values = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(5)]
    for step, value in enumerate(values):
        trial.report(value, step)
    return sum(values)
study.optimize(objective, n_trials=10)
"""


def kill_at_random(study, kills, *, seed, pause, parents):
    """SIGKILL for a worker or, where `parents` says so, for the command itself; everything that was finished by then.

    Args:
        study: that runs; started again whenever it does not.
        kills: how many.
        seed: of the choices.
        pause: seconds at most from when a trial runs to the next kill.
        parents: the kills that are the command's, by number.
    """
    draw, before, done = random.Random(seed), {}, 0
    while done < kills:
        study.start()
        if not study.running():
            time.sleep(0.1)
            continue
        time.sleep(draw.uniform(0, pause))
        before |= study.finished()
        workers = study.workers_alive()
        victim = study.process.pid if done in parents else draw.choice(workers) if workers else None
        if victim is None:
            continue
        study.kill(victim)
        done += 1
    return before


def test_five_kills_of_two_workers_and_their_parent(make_study, assert_sound, make_toml):
    study = make_study(make_toml(trials=ENDLESS, epochs=8), workers=2)
    before = kill_at_random(study, 5, seed=0, pause=1.5, parents={2})
    target = study.end_after(2, ENDLESS)
    study.run_out(within=300)
    assert_sound(study, target, before)
    assert (study.folder / "tiny.safetensors").is_file()


@pytest.mark.slow
def test_fifty_kills_of_eight_workers_and_their_parents(make_study, assert_sound, make_toml):
    study = make_study(make_toml(trials=ENDLESS, epochs=20), workers=8, grace=20)
    before = kill_at_random(study, 50, seed=1, pause=5.0, parents={10, 25, 40})
    target = study.end_after(8, ENDLESS)
    study.run_out(within=3600)
    assert_sound(study, target, before)


@pytest.mark.slow
def test_twenty_four_workers_never_find_the_database_locked(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    study = open_study(open_storage(url, create=True), load_definition("digits"))
    command = [sys.executable, "-c", TRIVIAL, url]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen([*command, str(seed)], env=environment, stderr=subprocess.PIPE, text=True)
        for seed in range(24)
    ]
    errors = [process.communicate(timeout=1200)[1] for process in processes]
    assert errors == [""] * 24
    assert [process.returncode for process in processes] == [0] * 24
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 240
    assert sorted(trial.number for trial in study.trials) == list(range(240))
