import pytest

from branchfold.search.console.shown.outcome import failure_lines
from branchfold.search.console.shown.standing import standing_in
from branchfold.studies.database.retries import release_killed
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


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


def test_how_far_a_study_is(tmp_path):
    url, definition = f"sqlite:///{tmp_path}/s.db", load_definition("digits")
    assert standing_in(url, definition) == (0, (), None)
    study = open_study(open_storage(url, create=True), definition)
    study.tell(study.ask({}), 0.5)
    finished, (seconds,), best = standing_in(url, definition)
    assert (finished, best) == (1, None)
    assert 0 <= seconds < 60
