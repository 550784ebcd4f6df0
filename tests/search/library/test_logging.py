import csv

import pytest
from pytorch_lightning.loggers import CSVLogger

from branchfold.search.events import BaselineEpoch, TrialReport
from branchfold.search.library.logging import Logged


def report(trial, number, **values):
    found = {"compute": 0.5, "alpha": 0.25, "metric": 0.75, "folded_metric": 0.5, **values}
    return TrialReport(trial=trial, unit="epoch", number=number, total=2, **found)


def test_a_run_logs_its_milestones(ran):
    steps = [(step, set(found)) for step, found in ran.logger.logged if any("trial-1/" in key for key in found)]
    start = {f"trial-1/{key}" for key in ("alpha", "metric", "folded_metric", "compute")}
    assert steps == [(0, start), (1, start | {"trial-1/loss", "trial-1/rate"})]
    (last,) = [found for step, found in ran.logger.logged if step == 1 and "trial-1/rate" in found]
    trial = ran.result.study.trials[1]
    assert last["trial-1/folded_metric"] == trial.value
    assert 0 <= last["trial-1/rate"] <= trial.params["training.lr"]
    assert last["trial-1/alpha"] == 0
    assert ran.logger.ended == "success"


def test_a_recipe_that_is_trained_again_has_a_name_of_its_own(make):
    logger = make.logger()
    with Logged([logger]) as logged:
        for number in (0, 1, 0, 1, 0):
            logged(report(3, number))
    names = [next(iter(found)).partition("/")[0] for _, found in logger.logged]
    assert names == ["trial-3", "trial-3", "trial-3-again-1", "trial-3-again-1", "trial-3-again-2"]


def test_lightnings_loggers_take_it(tmp_path):
    with Logged([CSVLogger(tmp_path, name="study", version=0)]) as logged:
        logged(BaselineEpoch(1, 1, loss=2.5, metric=0.5))
        logged(report(0, 0))
        logged(report(0, 1, loss=1.5, rate=0.125))
    with (tmp_path / "study" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["trial-0/loss"]) for row in rows if row["trial-0/loss"]] == [1.5]
    assert [float(row["trial-0/rate"]) for row in rows if row["trial-0/rate"]] == [0.125]
    assert [float(row["baseline/loss"]) for row in rows if row["baseline/loss"]] == [2.5]


def test_loggers_hear_of_a_failure(make):
    logger = make.logger()
    with pytest.raises(ValueError, match="why"), Logged([logger]):
        raise ValueError("why")
    assert logger.ended == "failed"
