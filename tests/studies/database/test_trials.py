import optuna
import pytest
from optuna.trial import TrialState

from branchfold.errors import StudyError
from branchfold.studies.database.storage import open_storage, open_study, set_user_attrs
from branchfold.studies.database.trials import (
    Measurement,
    best_trial,
    finished_trials,
    measurement_of,
    release_interrupted,
    trial_rows,
)
from branchfold.studies.definition.reading import load_definition

# `ask` records no heartbeat and says so; `branchfold run` uses `optimize`, these tests do not.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def definition():
    return load_definition("digits", ["study.budget={macs = 0.35}"])


@pytest.fixture
def study(tmp_path, definition):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(open_storage(f"sqlite:///{tmp_path}/x.db", create=True), definition)


def measured(accuracy, share, macs=None, latency_share=0.7):
    return Measurement(accuracy, macs or int(share * 1000), share, 50, 0.5, 1.25, latency_share)


def complete(study, accuracy, share, macs=None, **rest):
    trial = study.ask()
    trial.suggest_categorical("schedule.shape", ["linear", "knee"])
    set_user_attrs(trial, measured(accuracy, share, macs, **rest)._asdict())
    study.tell(trial, accuracy)
    return trial.number


class TestBest:
    def test_highest_accuracy_within_the_budget(self, study, definition):
        complete(study, 0.99, 0.36)  # more than 1 % over
        complete(study, 0.90, 0.10)
        best = complete(study, 0.95, 0.353)  # within 1 % of 0.35
        assert best_trial(study, definition).number == best
        assert measurement_of(best_trial(study, definition)) == measured(0.95, 0.353)

    def test_fewer_macs_break_ties(self, study, definition):
        complete(study, 0.9, 0.3)
        best = complete(study, 0.9, 0.2)
        complete(study, 0.9, 0.25)
        assert best_trial(study, definition).number == best

    def test_budget_of_parameters(self, study, definition):
        complete(study, 0.9, 0.3)
        strict = load_definition("digits", ["study.budget={parameters = 0.4}"])
        with pytest.raises(StudyError, match=r"no trial of 'digits' meets its budget \(parameters 0.4\)"):
            best_trial(study, strict)

    def test_nothing_finished_says_what_there_is(self, study, definition):
        with pytest.raises(StudyError) as caught:
            best_trial(study, definition)
        assert str(caught.value) == "study 'digits' has no finished trial yet; run `branchfold run digits`"
        study.tell(study.ask(), state=TrialState.FAIL)
        study.tell(study.ask(), state=TrialState.FAIL)
        study.tell(study.ask(), state=TrialState.PRUNED)
        study.ask()
        with pytest.raises(StudyError, match=r"yet \(1 stopped early, 2 failed, 1 running\); run"):
            best_trial(study, definition)
        assert [trial.number for trial in finished_trials(study)] == [2]

    def test_several_objectives(self, tmp_path):
        definition = load_definition(
            "digits", ['study.objectives=["accuracy", "macs"]', "study.name=two", "study.budget.macs=0.35"]
        )
        study = open_study(open_storage(f"sqlite:///{tmp_path}/two.db", create=True), definition)
        for accuracy, share in ((0.9, 0.3), (0.95, 0.34), (0.99, 0.9)):
            trial = study.ask()
            set_user_attrs(trial, measured(accuracy, share)._asdict())
            study.tell(trial, (accuracy, share))
        assert best_trial(study, definition).number == 1


class TestInterrupted:
    def test_running_trial_is_failed_and_its_parameters_come_again(self, study):
        trial = study.ask()
        value = trial.suggest_float("training.lr", 0.1, 1.0)
        assert release_interrupted(study, trial.number)
        assert not release_interrupted(study, trial.number)  # they wait already
        assert [row.state for row in trial_rows(study)] == ["fail", "waiting"]
        again = study.ask()
        assert (again.number, again.suggest_float("training.lr", 0.1, 1.0)) == (1, value)
        assert again.user_attrs == {"repeats": 0}

    def test_after_ctrl_c_in_optimize(self, study):
        def interrupted(trial):
            trial.suggest_float("training.lr", 0.1, 1.0)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            study.optimize(interrupted, n_trials=1)
        assert release_interrupted(study, 0)
        study.optimize(lambda trial: trial.suggest_float("training.lr", 0.1, 1.0), n_trials=1)
        assert study.trials[1].params == study.trials[0].params
        assert len(study.trials) == 2

    def test_finished_or_empty_trials_do_not_come_again(self, study):
        done = complete(study, 0.9, 0.3)
        empty = study.ask()
        assert not release_interrupted(study, done)
        assert not release_interrupted(study, empty.number)
        assert [row.state for row in trial_rows(study)] == ["complete", "fail"]


def test_rows(study):
    complete(study, 0.9, 0.3)
    trial = study.ask()
    trial.report(0.4, 0)
    trial.report(0.6, 1)
    study.ask()
    first, second, third = trial_rows(study)
    assert first[:5] == (0, "complete", 0.9, 0.3, 0.5)
    assert first.shape in ("linear", "knee")
    assert 0 <= first.seconds < 60
    assert second == (1, "running", 0.6, None, None, None, None, 1, None, None)
    assert third == (2, "running", None, None, None, None, None, 0, None, None)
