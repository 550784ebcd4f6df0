"""A trial that was cut short goes on once, keeps what is its own, and kills three processes at most."""

import pytest
from sqlalchemy import text

from branchfold.studies.database.optuna_internals import engine_of
from branchfold.studies.database.retries import release_interrupted, release_killed, was_cut_short
from branchfold.studies.database.storage import load_study, open_storage, open_study
from branchfold.studies.database.trials import end_abandoned
from branchfold.studies.definition.reading import load_definition

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def study(url):
    return open_study(open_storage(url, create=True), load_definition("digits"))


def begin(study, **attrs):
    trial = study.ask()
    trial.suggest_float("training.lr", 0.1, 1.0)
    for key, value in attrs.items():
        trial.set_user_attr(key, value)
    return trial.number


def states(study):
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def test_seed_and_checkpoint_go_along(study):
    number = begin(study, seed=7, checkpoint="abc", recipe={"shape": "linear"})
    assert release_interrupted(study, number)
    assert study.ask().user_attrs == {"repeats": number, "seed": 7, "checkpoint": "abc"}
    assert was_cut_short(study, number)


def test_two_processes_that_find_it_dead_queue_it_once(study, url):
    number, other = begin(study), load_study(open_storage(url, create=False), "digits")
    released = [release_killed(each, number, "silent") for each in (study, other, study)]
    assert released == [True, False, False]
    assert states(study) == ["FAIL", "WAITING"]
    assert not release_interrupted(study, number)  # by the process that ran it, when it comes back


def test_the_third_death_is_the_last(study):
    number = begin(study, seed=3)
    for death in (1, 2):
        assert release_killed(study, number, f"killed by SIGKILL {death}")
        trial = study.ask()
        number = trial.number
        trial.suggest_float("training.lr", 0.1, 1.0)
        assert trial.user_attrs["deaths"] == death
    assert not release_killed(study, number, "the kernel killed it")
    assert states(study) == ["FAIL"] * 3
    notes = [trial.user_attrs["note"] for trial in study.trials]
    assert notes[0] == "its worker died: killed by SIGKILL 1; it goes on as another trial"
    assert notes[2] == "its worker died, the 3rd one: the kernel killed it; it is not tried again"


def test_stops_on_request_are_no_deaths(study):
    for _ in range(5):
        number = begin(study)
        assert release_interrupted(study, number)
    assert states(study) == ["FAIL"] * 5 + ["WAITING"]


def test_one_that_finished_after_all_stays(study):
    number = begin(study)
    study.tell(number, 0.5)
    assert not release_killed(study, number, "silent")
    assert states(study) == ["COMPLETE"]
    assert "note" not in study.trials[number].user_attrs


@pytest.mark.parametrize(
    ("hours", "after"), [(1, ["RUNNING", "RUNNING"]), (-1, ["FAIL", "FAIL", "WAITING", "WAITING"])]
)
def test_a_clock_that_jumped_hides_the_dead_or_has_the_living_taken(study, hours, after):
    """Since the trials began the clock was put back by an hour, or forward: one has given a heartbeat, one has not."""
    beating, silent = begin(study), begin(study)
    storage = study._storage
    storage.record_heartbeat(study.trials[beating]._trial_id)
    shift = {"shift": f"{hours} hours"}
    with engine_of(storage).begin() as connection:
        connection.execute(text("UPDATE trials SET datetime_start = datetime(datetime_start, :shift)"), shift)
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, :shift)"), shift)
    end_abandoned(study)
    assert states(study) == after
    assert [release_interrupted(study, number) for number in (beating, silent)] == [hours > 0] * 2
