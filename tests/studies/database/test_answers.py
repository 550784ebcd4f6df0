"""Which examples networks have right, kept compactly; which trials cannot be told from the best."""

import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from branchfold.studies.database.answers import ANSWERS, MOST_EXAMPLES, compare_with_best, packed, unpacked
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.places.artifacts import NETWORK
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import load_definition
from branchfold.studies.metric import ACCURACY, Metric

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")
EXAMPLES = 100


@pytest.mark.parametrize("count", [1, 7, 8, 9, 288, 5000])
def test_answers_come_back_as_they_were(count):
    right = np.random.default_rng(count).random(count) < 0.9
    kept = packed(right, ACCURACY)
    assert unpacked(kept).tolist() == right.tolist()
    assert len(kept["right"]) == 4 * math.ceil(math.ceil(count / 8) / 3)


def test_scores_come_back_as_float32():
    scores = np.random.default_rng(0).normal(20.0, 3.0, 5000)
    kept = packed(scores, Metric("psnr", unit="dB"))
    assert unpacked(kept).tolist() == scores.astype(np.float32).tolist()
    assert len(str(packed(np.zeros(20_000), Metric("psnr")))) < 2**16


def test_of_very_many_the_first_are_kept():
    right = np.arange(MOST_EXAMPLES + 9) % 3 == 0
    kept = packed(right, ACCURACY)
    assert unpacked(kept).tolist() == right[:MOST_EXAMPLES].tolist()
    assert len(str(kept)) < 6000


@pytest.fixture
def study(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(f"sqlite:///{tmp_path}/x.db", create=True)
    return open_study(storage, load_definition("digits", ["study.budget={macs = 0.35}"]))


def add(study, wrong, share=0.3, network=None, objectives=1):
    """A trial that has these of 100 examples wrong."""
    right = np.ones(EXAMPLES, dtype=bool)
    right[list(wrong)] = False
    trial = study.ask()
    measured = Measurement(float(right.mean()), 100, share, 50, 0.5, 1.0, 0.5)
    set_user_attrs(
        trial, {**measured._asdict(), ANSWERS: packed(right, ACCURACY), NETWORK: network or f"n{trial.number}"}
    )
    study.tell(trial, [measured.metric, 0.3][:objectives])
    return trial.number


class TestBest:
    def test_p_values_are_those_of_the_examples_that_differ_corrected_for_their_number(self, study):
        add(study, range(20, 32))  # 12 errors are its own, 2 the best one's
        best = add(study, range(2))
        add(study, range(20, 26))  # 6 of its own, 2 the best one's: 2 (1 + 8 + 28) / 2^8
        add(study, range(50), share=0.5)  # over the budget: not compared
        study.tell(study.ask(), state=TrialState.PRUNED)
        found = compare_with_best(study)
        assert found.best == best == 1
        p_0 = 2 * sum((1, 14, 91)) / 2**14
        assert found.p_values == pytest.approx({0: 2 * p_0, 2: 74 / 256})
        assert [found.is_like_the_best(number) for number in range(5)] == [False, None, True, None, None]

    def test_a_trial_that_was_the_same_has_the_others_and_counts_once(self, study):
        add(study, range(2), network="a")
        add(study, range(20, 32), network="b")
        add(study, range(2), network="a")
        add(study, range(20, 32), network="b")
        p_value = 2 * sum((1, 14, 91)) / 2**14
        assert compare_with_best(study).p_values == pytest.approx({1: p_value, 2: 1.0, 3: p_value})

    def test_trials_without_answers_or_with_those_on_other_examples_are_not_compared(self, study):
        add(study, range(2))
        trial = study.ask()
        set_user_attrs(
            trial, {**Measurement(0.5, 100, 0.3, 50, 0.5, 1.0, 0.5)._asdict(), ANSWERS: packed(np.ones(9), ACCURACY)}
        )
        study.tell(trial, 0.5)
        assert compare_with_best(study).p_values == {}
        trial = study.ask()  # the best one, of an older version
        set_user_attrs(trial, Measurement(1.0, 100, 0.3, 50, 0.5, 1.0, 0.5)._asdict())
        study.tell(trial, 1.0)
        assert compare_with_best(study) is None

    def test_scores_are_compared_by_a_permutation_test(self, tmp_path):
        definition = load_definition("digits", ["task.name=regression", 'study.objectives=["mae"]'])
        error = Metric("mae", higher_is_better=False)
        study = open_study(open_storage(f"sqlite:///{tmp_path}/e.db", create=True), definition, error)
        errors = np.random.default_rng(0).random(50)
        for scores in (errors, errors + 0.5, errors[::-1]):
            trial = study.ask()
            measured = Measurement(float(scores.mean()), 100, 0.1, 50, 0.5, 1.0, 0.5)
            set_user_attrs(trial, {**measured._asdict(), ANSWERS: packed(scores, error), NETWORK: str(trial.number)})
            study.tell(trial, measured.metric)
        found = compare_with_best(study)
        assert found.best == 0
        assert found.p_values[1] < 0.01 < 0.5 < found.p_values[2]
        assert "permutation" in found.test

    def test_nothing_to_compare(self, study, tmp_path):
        assert compare_with_best(study) is None
        assert compare_with_best(optuna.create_study()) is None
        two = load_definition("digits", ['study.objectives=["accuracy", "macs"]', "study.name=two"])
        several = open_study(open_storage(f"sqlite:///{tmp_path}/two.db", create=True), two)
        add(several, range(2), objectives=2)
        add(several, range(3), objectives=2)
        assert compare_with_best(several) is None
