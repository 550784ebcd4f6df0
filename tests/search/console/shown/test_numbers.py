import pytest

from branchfold.search.console.shown.numbers import latency_lines, percent, with_interval
from branchfold.search.trial.latency import Latency
from branchfold.studies.metric import ACCURACY
from branchfold.studies.statistics import wilson


def test_a_share_has_one_digit():
    assert percent(0.9731) == "97.3 %"


def test_an_accuracy_with_its_interval():
    # Newcombe (1998): 15 of 148 are 0.0624 to 0.1605 by Wilson's method
    assert with_interval(ACCURACY, 15 / 148, wilson(15 / 148, 148)) == "10.1 % (95 % interval 6.2 to 16.0 %)"
    assert with_interval(ACCURACY, 1.0, wilson(1.0, 359)) == "100.0 % (95 % interval 98.9 to 100.0 %)"


@pytest.mark.parametrize(
    ("values", "where", "unsure"),
    [
        ({"unsure": False, "rounds": 2, "threads": 1, "batch": 1}, "one example on one thread", ""),
        (
            {"unsure": True, "rounds": 5, "threads": 2, "batch": 8},
            "8 examples on 2 threads",
            "; unsure, in all of 5 measurements it spreads more than it differs",
        ),
    ],
)
def test_a_latency_with_its_spread(values, where, unsure):
    assert latency_lines(Latency(0.5, (0.4, 0.75), 0.321, (0.3, 0.36), **values), "torch 2").splitlines() == [
        f"latency: 0.500 ms in torch 2 for {where} (interquartile range 0.400 to 0.750)",
        f"32.1 % of the full network's latency, timed in turn (interquartile range 30.0 to 36.0 %{unsure})",
    ]
