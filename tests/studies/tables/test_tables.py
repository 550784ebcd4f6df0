import optuna
import pytest
from made_studies import GROUPS, made_outcome, made_study, view_of
from scipy.stats import spearmanr

from branchfold.errors import StudyError
from branchfold.studies.database.findings.outcome import Judged, outcome_of
from branchfold.studies.metric import ACCURACY
from branchfold.studies.tables.comparison import Row, compare_studies, compare_trials
from branchfold.studies.tables.delivered import how_sure, won
from branchfold.studies.tables.importances import importances
from branchfold.studies.tables.milestones import milestones_of
from branchfold.studies.tables.screening import Screened, rank_correlation
from branchfold.studies.tables.trials import trial_lines
from branchfold.studies.tables.widths import width_rows


def test_milestones_and_widths_of_a_trial():
    view = view_of(made_study())
    milestones = milestones_of(view.trials[1])
    assert [m.number for m in milestones] == [0, 1, 2, 3, 4]
    assert [m.alpha for m in milestones] == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert (milestones[0].loss, milestones[4].compute, milestones[4].folded_metric) == (None, 2.0, 151 / 200)
    rows = width_rows(view, view.trials[6])  # 0.2 + 0.5 · 6 / 12 = 0.45
    assert [(row.group, row.width, row.full) for row in rows] == [
        ("first", 7, 16),
        ("second", 14, 32),
        ("third", 29, 64),
    ]
    assert [row.sensitivity for row in rows] == pytest.approx([0.2, 0.15, 0.1])


def test_milestones_of_a_running_trial_are_those_that_its_pruner_heard_of():
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.report(0.3, 0)
    trial.report(0.4, 1)
    assert [(m.number, m.folded_metric, m.compute) for m in milestones_of(study.trials[0])] == [
        (0, 0.3, None),
        (1, 0.4, None),
    ]


class TestImportances:
    def test_the_parameter_that_decides_comes_first(self):
        view = view_of(made_study(39))  # the share rises with the metric, the others do not
        found = importances(view, trial_lines(view))
        assert found[0].parameter == "keep"
        assert sum(each.importance for each in found) == pytest.approx(1)
        assert found[0].trials == sum(line.measured for line in trial_lines(view))
        assert importances(view, trial_lines(view), "fanova")[0].parameter == "keep"

    def test_few_trials_say_nothing(self):
        view = view_of(made_study(10))
        assert importances(view, trial_lines(view)) == []


def test_rank_correlation_is_spearmans():
    view = view_of(made_study())
    rows = [Screened(i, loss, i, metric) for i, (loss, metric) in enumerate([(0.1, 0.9), (0.2, 0.7), (0.3, 0.8)])]
    found = rank_correlation(view, [*rows, Screened(9, 0.5, None, None)])
    assert found.coefficient == pytest.approx(spearmanr([-0.1, -0.2, -0.3], [0.9, 0.7, 0.8]).statistic)
    assert found.widths == 3
    assert rank_correlation(view, rows[:2]) is None


class TestDelivered:
    def test_survives_the_database(self):
        assert outcome_of(made_study()) == made_outcome()
        assert outcome_of(made_study(outcome=False)) is None

    def test_in_sentences(self):
        outcome = made_outcome()
        assert won(outcome, ACCURACY) == (
            "15.0 % of the MACs, 20.0 % of the parameters, 50.0 % of the latency, 20.0 % of the file's size; "
            "accuracy 90.0 %, the baseline's 94.0 %, on 200 test examples"
        )
        assert how_sure(outcome, ACCURACY) == (
            "90.0 % (95 % interval 85.0 to 93.0 %); that overlaps the baseline's: so few examples cannot tell them "
            "apart for sure; that lies apart from the known recipe's; new runs of the recipe on validation: 90.0 %, "
            "91.0 %"
        )

    def test_without_a_test_split(self):
        outcome = made_outcome()._replace(split="validation", network=Judged(0.9, None), known=None, runs=())
        assert "too good by some luck" in how_sure(outcome, ACCURACY)


class TestComparison:
    def test_two_trials(self):
        found = compare_trials(view_of(made_study()), 0, 11)
        assert found.names == ("trial 0", "trial 11")
        assert found.said[0] == "trial 11 has +5.5 points beside trial 0 (accuracy on validation)"
        # 11 examples against none: 2 / 2¹¹
        assert found.said[1].startswith("on 200 validation examples they can be told apart (p = 0.001, McNemar's exact")
        assert Row("MACs", "20.0 %", "65.8 %") in found.rows
        assert Row("shape", "instant", "step") in found.rows
        assert found.widths[2] == Row("third", "13 of 64", "42 of 64")
        assert [row.what for row in found.widths] == list(GROUPS)

    def test_a_trial_without_a_value(self):
        study = made_study(2)
        study.ask()
        assert compare_trials(view_of(study), 0, 2).said == ("trial 2 (running) has no accuracy yet",)

    def test_two_studies(self):
        found = compare_studies(view_of(made_study()), view_of(made_study(6, name="other", outcome=False)))
        assert Row("trials", "12 trials", "6 trials") in found.rows
        assert Row("best trial", "11", "5") in found.rows
        assert Row("delivered, accuracy (test)", "90.0 % (85.0 to 93.0 %), 200 examples", "-") in found.rows
        assert found.said[1] == "other has exported nothing yet, so there is no test accuracy of it"

    def test_studies_of_different_data_or_networks(self):
        first, other = view_of(made_study()), made_study(6, name="other")
        other.set_user_attr("baseline", {**other.user_attrs["baseline"], "macs": 20_000})
        assert "shares are of unlike wholes" in compare_studies(first, view_of(other)).said[1]
        tables = other.user_attrs["definition"]
        other.set_user_attr("definition", {**tables, "data": {**tables["data"], "name": "mnist"}})
        found = compare_studies(first, view_of(other))
        assert found.said == (
            "they are on different data, digits and mnist: their accuracy does not compare, only what each keeps "
            "beside its own baseline",
        )
        assert (
            Row("data.name", '"digits"', '"mnist"') in found.rows or Row("data.name", "digits", "mnist") in found.rows
        )

    def test_what_is_unsure_or_failed(self):
        study = made_study(12)
        trials = study.trials
        for trial in trials[:1]:
            trial.user_attrs["latency_unsure"] = True
        view = view_of(study)
        object.__setattr__(view, "trials", trials)
        study.get_trials = lambda **_: trials
        found = compare_trials(view, 0, 1)
        assert Row("latency", "60.0 % ?", "62.1 %") in found.rows
        assert found.said[-1].startswith("?: a latency that is unsure")
        found = compare_trials(view, 1, 10)
        assert found.said == ("trial 10 failed, so it has no accuracy",)
        assert next(row for row in found.rows if row.what.startswith("accuracy")).second == "-"

    def test_nothing_is_compared_with_itself(self):
        view = view_of(made_study(3))
        with pytest.raises(StudyError, match="trial 1 cannot be compared with itself"):
            compare_trials(view, 1, 1)
        with pytest.raises(StudyError, match="study 'made' cannot be compared with itself"):
            compare_studies(view, view)
        with pytest.raises(StudyError, match="no trial 7, only 0 to 2"):
            compare_trials(view, 1, 7)
