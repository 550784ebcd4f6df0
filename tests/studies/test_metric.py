import numpy as np
import pytest
from scipy.stats import norm, ttest_rel

from branchfold.studies.metric import ACCURACY, Metric
from branchfold.studies.statistics import bootstrap, permuted, wilson


def test_values_are_told_in_their_unit():
    assert ACCURACY.text(0.9734) == "97.3 %"
    assert Metric("psnr", unit="dB").text(21.4242) == "21.42 dB"
    assert Metric("mae", higher_is_better=False).text(0.01234) == "0.01234"


def test_quality_is_higher_for_the_better_of_two():
    error = Metric("mae", higher_is_better=False)
    assert error.quality(0.1) > error.quality(0.2)
    assert ACCURACY.quality(0.9) > ACCURACY.quality(0.8)


def test_each_kind_has_its_interval():
    scores = np.random.default_rng(1).normal(3.0, 2.0, 400)
    assert ACCURACY.interval(0.9, 200, None) == wilson(0.9, 200)
    assert Metric("psnr").interval(3.0, 400, scores) == bootstrap(scores)
    assert Metric("miou", kind="accumulated").interval(0.5, 400, scores) is None
    assert Metric("psnr").interval(3.0, 400, None) is None


def test_the_bootstrap_of_normal_scores_is_near_the_normal_interval():
    scores = np.random.default_rng(2).normal(3.0, 2.0, 900)
    half = norm.ppf(0.975) * scores.std(ddof=1) / 30
    low, high = bootstrap(scores)
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)
    assert bootstrap(scores) == (low, high)


def test_scores_that_do_not_differ_leave_no_doubt():
    assert bootstrap(np.full(10, 0.25)) == (0.25, 0.25)


def test_the_permutation_test_agrees_with_students_on_normal_pairs():
    random = np.random.default_rng(3)
    a = random.normal(0.0, 1.0, 200)
    b = a + random.normal(0.12, 1.0, 200)
    assert permuted(a, b) == pytest.approx(ttest_rel(a, b).pvalue, abs=0.03)
    assert permuted(a, a) == 1.0
    assert permuted(a, a + 1.0) < 0.001
