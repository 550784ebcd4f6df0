import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from branchfold.errors import StudyError
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.retries import release_interrupted
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import (
    Measurement,
    best_trial,
    finished_trials,
    history_of,
    measurement_of,
    metric_of,
    metric_value,
    ranked_trials,
)
from branchfold.studies.definition.reading import load_definition
from branchfold.studies.metric import ACCURACY, Metric

# `ask` records no heartbeat and says so; `branchfold run` uses `optimize`, these tests do not.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def definition():
    return load_definition("digits", ["study.budget={macs = 0.35}"])


@pytest.fixture
def study(tmp_path, definition):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_study(open_storage(f"sqlite:///{tmp_path}/x.db", create=True), definition)


# The fields that studies before this version recorded.
FIRST_FIELDS = ("metric", "macs", "macs_share", "parameters", "parameters_share", "latency", "latency_share")


def measured(accuracy, share, macs=None, latency_share=0.7, **rest):
    return Measurement(accuracy, macs or int(share * 1000), share, 50, 0.5, 1.25, latency_share, **rest)


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
        with pytest.raises(StudyError, match=r"to its end \(1 stopped early, 2 failed, 1 running\); run more"):
            best_trial(study, definition)
        assert [trial.number for trial in finished_trials(study)] == [2]

    def test_a_latency_that_is_unsure_is_not_within_a_budget_of_it(self, study, definition):
        number = complete(study, 0.95, 0.3, latency_share=0.5)
        complete(study, 0.99, 0.3, latency_share=0.2, latency_spread=0.4, latency_unsure=True)
        strict = load_definition("digits", ["study.budget={latency = 0.6}"])
        assert best_trial(study, strict).number == number
        assert best_trial(study, definition).number == number + 1  # no budget of latency

    def test_of_which_all_are_unsure_is_told(self, study):
        complete(study, 0.99, 0.3, latency_share=0.2, latency_spread=0.4, latency_unsure=True)
        strict = load_definition("digits", ["study.budget={latency = 0.6}"])
        with pytest.raises(StudyError, match=r"meets its budget \(latency 0.6\): .* latency 0.200, unsure; run more"):
            best_trial(study, strict)

    def test_ranked_within_the_budget(self, study, definition):
        for accuracy, share in ((0.9, 0.3), (0.95, 0.3), (0.99, 0.9), (0.95, 0.2)):
            complete(study, accuracy, share)
        assert [trial.number for trial, _ in ranked_trials(study, definition)] == [3, 1, 0]

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


class TestMeasurement:
    def test_a_trial_without_the_fields_added_later_is_measured(self, study, definition):
        trial = study.ask()
        values = {field: value for field, value in measured(0.9, 0.3)._asdict().items() if field in FIRST_FIELDS}
        set_user_attrs(trial, values)
        study.tell(trial, 0.9)
        assert len(values) == 7
        assert measurement_of(study.trials[0]) == measured(0.9, 0.3)
        assert best_trial(study, definition).number == 0

    def test_every_field_added_later_has_a_default(self):
        assert set(Measurement._fields) - set(Measurement._field_defaults) == set(FIRST_FIELDS)

    @pytest.mark.parametrize("missing", FIRST_FIELDS)
    def test_a_trial_without_one_of_the_first_fields_is_not(self, study, missing):
        trial = study.ask()
        set_user_attrs(trial, {key: value for key, value in measured(0.9, 0.3)._asdict().items() if key != missing})
        study.tell(trial, 0.9)
        assert measurement_of(study.trials[0]) is None


def test_what_an_earlier_version_measured_is_read_by_todays_names(study, definition):
    trial = study.ask()
    earlier = {**measured(0.9, 0.3)._asdict(), "history": [{"number": 0, "folded_accuracy": 0.4, "accuracy": 0.5}]}
    earlier["accuracy"] = earlier.pop("metric")
    set_user_attrs(trial, earlier)
    study.tell(trial, 0.9)
    assert measurement_of(study.trials[0]) == measured(0.9, 0.3)
    assert metric_value(study.trials[0]) == 0.9
    assert [(entry["metric"], entry["folded_metric"]) for entry in history_of(study.trials[0])] == [(0.5, 0.4)]
    assert trial_rows(study)[0].metric == 0.9
    study.set_user_attr("metric", None)
    assert metric_of(study) == ACCURACY


def test_of_a_metric_that_is_minimised_the_lowest_is_the_best(tmp_path):
    definition = load_definition("digits", ["task.name=regression", 'study.objectives=["mae"]'])
    error = Metric("mae", higher_is_better=False)
    study = open_study(open_storage(f"sqlite:///{tmp_path}/e.db", create=True), definition, error)
    assert study.direction == StudyDirection.MINIMIZE
    assert study.metric_names == ["mae"]
    for value in (0.4, 0.2, 0.3):
        complete(study, value, 0.1)
    assert [trial.number for trial, _ in ranked_trials(study, definition)] == [1, 2, 0]
    assert metric_of(study) == error


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

    def test_the_known_recipe_stays_known(self, study):
        study.enqueue_trial({"training.lr": 0.5}, user_attrs={"known": "fold-at-once"})
        trial = study.ask()
        trial.suggest_float("training.lr", 0.1, 1.0)
        assert release_interrupted(study, trial.number)
        assert study.ask().user_attrs == {"repeats": 0, "known": "fold-at-once"}

    def test_a_queued_trial_that_had_proposed_nothing_or_little_comes_again_whole(self, study):
        study.enqueue_trial({"training.lr": 0.5, "keep": 0.25})
        for number in range(2):
            trial = study.ask()
            if number:
                trial.suggest_float("training.lr", 0.1, 1.0)
            assert release_interrupted(study, trial.number)
        again = study.ask()
        assert [again.suggest_float(name, 0.1, 1.0) for name in ("training.lr", "keep")] == [0.5, 0.25]

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
