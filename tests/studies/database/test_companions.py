import optuna
import pytest
from optuna.study import StudyDirection

from branchfold.errors import StudyError
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


def companion(storage, study, kind=REFINED, told=None):
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    tell = pytest.fail if told is None else told.append
    return open_companion(storage, study, kind, directions=directions, metrics=["loss", "accuracy"], told=tell)


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


def finished(storage, study):
    companion(storage, study).add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))


class TestStale:
    def test_of_a_deleted_study_are_deleted_when_a_new_one_takes_its_name(self, storage, study, tmp_path):
        finished(storage, study)
        network = tmp_path / "artifacts" / "refined"
        network.parent.mkdir()
        network.touch()
        refined = companion(storage, study)
        optuna.storages.get_storage(storage).set_study_system_attr(refined._study_id, "artifacts:refined", "{}")
        optuna.delete_study(storage=storage, study_name="digits")
        told = []
        new = open_study(storage, load_definition("digits", ["model.width=0.5"]), told=told.append)
        assert told == ["deleted digits-refined: it belonged to a study digits that is no more"]
        assert optuna.get_all_study_names(storage) == ["digits"]
        assert not network.exists()
        assert companion(storage, new).trials == []

    def test_another_study_of_the_name_has_none_of_them(self, storage, study):
        """As an earlier version leaves it, which did not delete them."""
        finished(storage, study)
        study.set_user_attr("identity", "another")
        told = []
        assert companion(storage, study, told=told).trials == []
        assert told == ["deleted digits-refined: it belonged to another study digits"]
        finished(storage, study)
        assert len(companion(storage, study).trials) == 1

    def test_another_baseline_makes_another(self, storage, study):
        finished(storage, study)
        study.set_user_attr("baseline", {"accuracy": 0.9, "network": "b"})
        told = []
        found = companion(storage, study, told=told)
        assert found.trials == []
        assert found.user_attrs["baseline"]["network"] == "b"
        assert told == ["deleted digits-refined: it was made with another baseline"]

    def test_another_definition_makes_another_but_not_more_trials(self, storage, study):
        finished(storage, study)
        open_study(storage, load_definition("digits", ["study.trials=99", "data.root=elsewhere"]))
        assert len(companion(storage, study).trials) == 1
        fingerprint = study.user_attrs["fingerprint"]
        study.set_user_attr("fingerprint", {**fingerprint, "model": {"factory": "vgg_digits", "width": 0.5}})
        told = []
        assert companion(storage, study, told=told).trials == []
        assert told == ["deleted digits-refined: it was made with another definition"]

    def test_of_earlier_versions_without_an_identity_are_kept(self, storage):
        optuna.create_study(storage=storage, study_name="digits", direction="maximize")
        old = optuna.load_study(storage=storage, study_name="digits")
        definition = load_definition("digits")
        for key, value in (("definition", definition.to_dict()), ("fingerprint", definition.fingerprint())):
            old.set_user_attr(key, value)
        finished(storage, old)
        assert "identity" not in companion(storage, old).user_attrs
        assert len(companion(storage, old).trials) == 1

    def test_somebodys_study_of_the_companions_name_is_left_alone(self, storage, study):
        theirs = optuna.create_study(storage=storage, study_name="digits-refined", directions=["minimize", "maximize"])
        theirs.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
        with pytest.raises(StudyError, match="study 'digits-refined' stands where branchfold keeps what belongs to"):
            companion(storage, study)
        optuna.delete_study(storage=storage, study_name="digits")
        open_study(storage, load_definition("digits"), told=pytest.fail)
        assert len(theirs.trials) == 1
