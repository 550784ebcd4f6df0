"""What exactly one of several processes gets: a claim, a queued trial."""

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from branchfold.studies.database.optuna_internals import claim
from branchfold.studies.database.storage import load_study, open_storage

PROCESSES = 6


@pytest.fixture
def together(tmp_path):
    """Calls a function of a study in several threads at once, each with its own connection; what each returned."""
    url = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=open_storage(url, create=True), study_name="shared")

    def run(act, prepare=lambda study: None):
        prepare(load_study(open_storage(url, create=False), "shared"))
        ready = threading.Barrier(PROCESSES)

        def one(number):
            study = load_study(open_storage(url, create=False), "shared")
            ready.wait()
            return act(study)

        with ThreadPoolExecutor(PROCESSES) as pool:
            return list(pool.map(one, range(PROCESSES)))

    return run


def test_one_process_claims(together):
    assert sorted(together(lambda study: claim(study, "queueing"))) == [False] * (PROCESSES - 1) + [True]


def test_keys_and_studies_are_claimed_apart(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    first, second = (optuna.create_study(storage=storage, study_name=name) for name in "ab")
    assert claim(first, "x")
    assert claim(first, "y")
    assert claim(second, "x")
    assert not claim(first, "x")
    assert first.user_attrs["x"].startswith("process ")


def test_a_storage_in_memory_is_claimed_once():
    study = optuna.create_study()
    assert claim(study, "x")
    assert not claim(study, "x")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage")
def test_a_queued_trial_is_taken_once(together):
    """Optuna's own storage gives one to several processes of a SQLite database."""

    def queue(study):
        for number in range(16):
            study.enqueue_trial({"x": number})

    taken = [
        number
        for numbers in together(lambda study: [study.ask().number for _ in range(4)], queue)
        for number in numbers
    ]
    assert sorted(taken) == list(range(4 * PROCESSES))
