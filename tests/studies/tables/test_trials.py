import optuna
import pytest
from made_studies import made_study, view_of
from optuna.trial import TrialState

from branchfold.errors import StudyError
from branchfold.studies.database.trials import Measurement
from branchfold.studies.tables.selecting import selected
from branchfold.studies.tables.trials import trial_lines


@pytest.fixture(scope="module")
def view():
    return view_of(made_study())


@pytest.fixture(scope="module")
def lines(view):
    return trial_lines(view)


def test_lines_say_what_came_of_each_trial(lines):
    assert [line.state for line in lines] == ["complete"] * 4 + ["pruned"] + ["complete"] * 4 + ["pruned", "fail"] + [
        "complete"
    ]
    assert [line.number for line in lines if line.best] == [11]
    assert lines[11].said == "best of 9 trials on 200 validation examples, so too good by some luck"
    assert lines[0].said == "behind the best (p = 0.01)"  # 11 examples against 0, of 8 comparisons
    assert lines[8].said == "cannot be told from the best (p = 0.25)"  # 3 examples against 0: 2 / 2³
    assert lines[4].said == "stopped early: the last value at α = 0"
    assert lines[10].reason == "out of memory"
    assert lines[1].recipe.startswith("linear over 50 % of the trial, 2 stages by forward, convex blending, learning")


def test_the_front_is_what_no_other_trial_beats_in_metric_and_macs(lines):
    # Metric and cost rise together, so that every measured trial is on it.
    assert [line.number for line in lines if line.front] == [0, 1, 2, 3, 5, 6, 7, 8, 11]


def test_with_several_objectives_the_front_counts_all_of_them():
    view = view_of(made_study(objectives=("accuracy", "macs")))
    lines = trial_lines(view)
    assert sum(line.front for line in lines) == 9
    assert lines[0].said == "on the front"
    assert view.comparison is None


def test_a_trial_that_costs_more_and_is_no_better_is_not_on_the_front():
    view = view_of(made_study(60))  # trial 40 has as many right as trial 0, at more cost
    lines = trial_lines(view)
    assert not any(line.front for line in lines[40:])
    assert lines[38].front


def test_values_are_flat(view, lines):
    values = lines[0].values(view.metric.name)
    assert values["metric"] == 0.75
    assert values["metric_name"] == "accuracy"
    assert all(isinstance(value, str | int | float | bool | None) for value in values.values())


class TestSelection:
    def test_conditions_and_orders(self, view, lines):
        def numbers(**wanted):
            return [line.number for line in selected(lines, view.metric, **wanted)]

        assert numbers() == list(range(12))
        assert numbers(where=["macs<0.3"]) == [0, 1, 2]
        assert numbers(where=["macs < 30 %", "schedule=linear"]) == [1]
        assert numbers(where=["state!=complete"]) == [4, 9, 10]
        assert numbers(where=["accuracy >= 78 %"]) == [6, 7, 8, 11]
        assert numbers(top=2) == [11, 8]
        assert numbers(sort="-metric", where=["state=complete"], top=2) == [0, 1]
        assert numbers(sort="macs", top=2) == [0, 1]
        assert numbers(sort="macs")[-3:] == [4, 9, 10]  # what is not known comes last

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"where": ["macs"]}, r"--where 'macs': must be a column, one of < <= > >= = != and a value"),
            ({"where": ["mac<0.2"]}, r"--where: no column 'mac'; did you mean macs\?"),
            ({"where": ["macs<few"]}, r"'few' is no number; macs needs one, or 12 %"),
            ({"sort": "speed"}, r"--sort: no column 'speed'.*there are trial, state, metric"),
        ],
    )
    def test_mistakes(self, view, lines, wanted, message):
        with pytest.raises(StudyError, match=message):
            selected(lines, view.metric, **wanted)


def test_a_shorter_trial_tells_its_rung_and_what_became_of_it():
    study = made_study()
    measured = {key: study.trials[11].user_attrs[key] for key in Measurement._fields}
    for number, of in ((1, None), (2, 12)):
        rung = {"rung": {"number": number, "of": 3, "share": 3.0 ** (number - 3)}}
        origin = {} if of is None else {"promoted_from": of}
        study.add_trial(optuna.create_trial(state=TrialState.PRUNED, user_attrs={**measured, **rung, **origin}))
    lines = trial_lines(view_of(study))
    assert [line.came_to for line in lines[12:]] == ["rung 1 of 3", "rung 2 of 3"]
    assert [line.said for line in lines[12:]] == [
        "a shorter trial, rung 1 of 3, and went on as trial 13",
        "a shorter trial, rung 2 of 3",
    ]
    assert [line.number for line in lines if line.best] == [11]
    assert not any(line.front or line.measured for line in lines[12:])
