import optuna
import pytest

from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import load_definition

# `ask` records no heartbeat and says so; `branchfold run` uses `optimize`, these tests do not.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def study(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(open_storage(f"sqlite:///{tmp_path}/x.db", create=True), load_definition("digits"))


def test_rows(study):
    trial = study.ask()
    trial.suggest_categorical("schedule.shape", ["linear", "knee"])
    set_user_attrs(trial, Measurement(0.9, 300, 0.3, 50, 0.5, 1.25, 0.7)._asdict())
    study.tell(trial, 0.9)
    trial = study.ask()
    trial.report(0.4, 0)
    trial.report(0.6, 1)
    study.ask()
    first, second, third = trial_rows(study)
    assert first[:8] == (0, "complete", 0.9, 0.3, 0.5, 0.7, None, False)
    assert first.shape in ("linear", "knee")
    assert 0 <= first.seconds < 60
    assert second == (1, "running", 0.6, None, None, None, None, None, None, 1, None, None)
    assert third == (2, "running", None, None, None, None, None, None, None, 0, None, None)
