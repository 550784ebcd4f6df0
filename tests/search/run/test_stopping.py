"""When a study ends before it has its number of trials."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from branchfold.search.run.stopping import end_if_stuck, is_over, trials_since_best

MEASURED = {"macs_share": 0.2, "macs": 10, "parameters": 5, "parameters_share": 0.2, "latency": 1.0}


def study_of(values, directions=("maximize",)):
    study = optuna.create_study(directions=directions)
    for value in values:
        values_of = None if value is None else list(value) if isinstance(value, tuple) else [value]
        metric = {} if value is None else {"metric": values_of[0], **MEASURED, "latency_share": 0.5}
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                state=state,
                values=values_of,
                params={"x": 0.5},
                distributions={"x": FloatDistribution(0, 1)},
                user_attrs=metric,
            )
        )
    return study


@pytest.mark.parametrize(
    ("values", "since"),
    [([], 0), ([0.5], 0), ([0.5, 0.4, None], 2), ([0.5, 0.6, 0.6], 1), ([None, None], 2), ([0.1, 0.2, 0.3], 0)],
)
def test_counts_the_trials_since_the_best(define, values, since):
    assert trials_since_best(study_of(values), define()) == since


def test_with_several_objectives_since_the_last_of_the_front(define):
    definition = define(study={"objectives": ["accuracy", "macs"], "budget": {}})
    study = study_of([(0.5, 10), (0.6, 20), (0.4, 30), (0.3, 40)], ("maximize", "minimize"))
    assert trials_since_best(study, definition) == 2


def test_ends_the_study_for_all_its_workers(define):
    study = study_of([0.5, 0.4, 0.4])
    assert not end_if_stuck(study, define(), None)
    assert not end_if_stuck(study, define(), 3)
    assert not is_over(study)
    assert end_if_stuck(study, define(), 2)
    assert is_over(study)
    assert study.user_attrs["ended"] == "the best has not improved for 2 trials"
