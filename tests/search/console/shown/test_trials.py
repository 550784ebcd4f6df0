import io
import json

import numpy as np
import optuna
import pytest
from made_studies import made_study, view_of
from rich.console import Console

from branchfold.search.console.shown.trials import trials_table, trials_values
from branchfold.search.space.courses import course_of
from branchfold.studies.database.answers import packed
from branchfold.studies.database.optuna_internals import set_user_attrs
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import Measurement
from branchfold.studies.metric import ACCURACY
from branchfold.studies.tables.study import StudyView

# Trials are asked for by hand here, without a heartbeat, of which Optuna warns.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


def printed(table):
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return " ".join(out.getvalue().split())


class TestTrials:
    @pytest.fixture
    def study(self):
        study = optuna.create_study(study_name="listed", direction="maximize")
        first = study.ask()
        first.report(0.7, 2)
        set_user_attrs(first, Measurement(0.75, 300, 0.3, 40, 0.4, 1.5, 0.6)._asdict())
        study.tell(first, 0.75)
        second = study.ask()
        second.report(0.25, 1)
        study.tell(second, state=optuna.trial.TrialState.PRUNED)
        study.ask()
        return study

    def test_values(self, study):
        rows = trials_values(StudyView(study, course_of))
        assert [row["state"] for row in rows] == ["complete", "pruned", "running"]
        assert [row["metric"] for row in rows] == [0.75, 0.25, None]
        assert rows[0]["macs_share"] == 0.3
        json.dumps(rows)

    def test_table(self, study):
        text = printed(trials_table(StudyView(study, course_of)))
        assert "study listed" in text
        assert "75.0 %" in text
        assert "no baseline yet" in text
        assert "waiting: queued" not in text
        study.set_user_attr("baseline", {"accuracy": 0.9, "examples": 144, "macs": 1000, "parameters": 100})
        # Wilson's interval of 130 in 144 (0.9 of them, rounded)
        assert "baseline 90.0 % (95 % interval 84.3 to 94.1 %), 1,000 MACs, 100 parameters" in printed(
            trials_table(StudyView(study, course_of))
        )

    def test_what_an_interrupted_trial_reported_last_is_no_result(self, study):
        other = study.ask()
        other.report(0.375, 1)
        study.tell(other, state=optuna.trial.TrialState.FAIL)
        text = printed(trials_table(StudyView(study, course_of)))
        assert "25.0 %" in text  # of the one that was stopped early
        assert "37.5 %" not in text

    def test_states_that_a_word_does_not_tell_are_explained_where_they_stand(self, study):
        study.set_user_attr("baseline", {"accuracy": 0.9, "examples": 144, "macs": 1000, "parameters": 100})
        assert "waiting: queued" not in printed(trials_table(StudyView(study, course_of)))
        study.enqueue_trial({"training.lr": 0.01})
        assert "waiting: queued, and tried if the study is to have more trials" in printed(
            trials_table(StudyView(study, course_of))
        )

    def test_latency_is_told_with_its_spread_and_whether_it_is_unsure(self, study):
        study.set_user_attr("baseline", {"accuracy": 0.9, "examples": 144, "macs": 1000, "parameters": 100})
        assert "interquartile range" not in printed(trials_table(StudyView(study, course_of)))
        for share, unsure in ((0.6, False), (0.7, True)):
            trial = study.ask()
            measured = Measurement(0.75, 300, 0.3, 40, 0.4, 1.5, share, latency_spread=0.123, latency_unsure=unsure)
            set_user_attrs(trial, measured._asdict())
            study.tell(trial, 0.75)
        text = printed(trials_table(StudyView(study, course_of)))
        assert "60.0 % (12.3) │" in text
        assert "70.0 % (12.3) ? │" in text
        assert (
            "latency: median share of the baseline's (interquartile range in points), one example on one thread" in text
        )
        assert "?: unsure" in text
        rows = trials_values(StudyView(study, course_of))
        assert (rows[4]["latency_spread"], rows[4]["latency_unsure"]) == (0.123, True)


class TestLikeTheBest:
    @pytest.fixture
    def study(self, define, tmp_path):
        """The best trial has 1 of 50 examples wrong, the others 4 and 20."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = open_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=True), define(study={"name": "compared"}))
        study.set_user_attr("baseline", {"accuracy": 0.9, "examples": 50, "macs": 1000, "parameters": 100})
        for wrong in (4, 1, 20):
            trial = study.ask()
            right = [index >= wrong for index in range(50)]
            measured = Measurement(sum(right) / 50, 300, 0.2, 40, 0.4, 1.5, 0.6)
            set_user_attrs(trial, {**measured._asdict(), "answers": packed(np.array(right), ACCURACY)})
            study.tell(trial, measured.metric)
        return study

    def test_values(self, study):
        rows = trials_values(StudyView(study, course_of))
        assert [row["best"] for row in rows] == [False, True, False]
        assert [row["like_best"] for row in rows] == [True, None, False]
        # 3 against 0 and 19 against 0, of which the less likely counts twice
        assert [row["p_value"] for row in rows] == [pytest.approx(2 / 2**3), None, pytest.approx(2 * 2 / 2**19)]
        json.dumps(rows)

    def test_the_best_stands_on_the_front_where_others_do(self):
        text = printed(trials_table(view_of(made_study(12))))
        assert "│ 11 │ complete │ 80.5 % │ best ◆ │" in text
        assert "◆: on the front" in text
        assert "best ◆" not in printed(trials_table(view_of(made_study(1))))

    def test_marks_with_a_legend(self, study):
        text = printed(trials_table(StudyView(study, course_of)))
        assert "│ 0 │ complete │ 92.0 % │ ≈ │" in text
        assert "│ 1 │ complete │ 98.0 % │ best │" in text
        assert "│ 2 │ complete │ 60.0 % │ │" in text
        assert (
            "≈: these examples cannot tell it from the best, trial 1 "
            "(McNemar's exact test, p ≥ 0.05 by Holm's correction for 2 trials)"
        ) in text
