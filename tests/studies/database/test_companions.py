import optuna
import pytest
from optuna.study import StudyDirection

from branchfold.studies.database.companions import REFINED, SCREENING, companion_name, open_companion
from branchfold.studies.database.storage import open_storage, open_study, stored_definition
from branchfold.studies.definition.reading import load_definition


@pytest.fixture
def storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(f"sqlite:///{tmp_path}/x.db", create=True)


@pytest.fixture
def study(storage):
    study = open_study(storage, load_definition("digits"))
    study.set_user_attr("baseline", {"accuracy": 0.9, "network": "a"})
    return study


def companion(storage, study, kind=REFINED):
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    return open_companion(storage, study, kind, directions=directions, metrics=["loss", "accuracy"])


def test_has_the_studys_definition_under_its_own_name_and_the_baseline(storage, study):
    found = companion(storage, study)
    assert found.study_name == companion_name("digits", REFINED) == "digits-refined"
    definition = stored_definition(found)
    assert definition.study.name == "digits-refined"
    assert definition.study.seed == load_definition("digits").study.seed
    assert definition.space == load_definition("digits").space
    assert found.user_attrs["baseline"] == study.user_attrs["baseline"]
    assert found.directions == [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    assert found.metric_names == ["loss", "accuracy"]
    assert stored_definition(study).study.name == "digits"


def test_is_opened_again_with_what_it_holds(storage, study):
    companion(storage, study).add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    assert len(companion(storage, study).trials) == 1
    assert len(companion(storage, study, SCREENING).trials) == 0
    assert {*optuna.get_all_study_names(storage)} == {"digits", "digits-refined", "digits-screening"}


def test_never_stops_a_trial_early(storage, study):
    assert isinstance(companion(storage, study).pruner, optuna.pruners.NopPruner)


def test_of_the_longest_name_can_be_read(storage):
    definition = load_definition("digits", [f"study.name={'n' * 100}"])
    found = companion(storage, open_study(storage, definition))
    assert stored_definition(found).study.seed == 0
