"""Intervals around the difference of two arms, against SciPy where only seeds or only examples differ."""

import numpy as np
import pytest
from scipy.stats import sem, ttest_1samp
from scipy.stats import t as student

from branchfold.benchmarks.map_parts.differences import difference


def test_where_only_seeds_differ_it_is_students_interval():
    # Of each seed's run every example has the same difference: no draw of examples changes anything.
    values = np.array([1, -1, 0, 0, 1, 1], np.int8)
    found = difference([np.repeat(values[:, None], 30, 1)])
    reference = ttest_1samp(values, 0)
    low, high = reference.confidence_interval()
    assert found.mean == pytest.approx(values.mean())
    # 2,000 draws know a standard error to 1.6 %.
    assert found.half_width == pytest.approx((high - low) / 2, rel=0.06)
    assert found.p == pytest.approx(reference.pvalue, abs=0.03)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06)


def test_where_only_examples_differ_it_is_their_standard_error():
    examples = np.random.default_rng(1).choice([-1, 0, 1], 400, p=[0.1, 0.7, 0.2]).astype(np.int8)
    found = difference([np.repeat(examples[None], 5, 0)])
    assert found.half_width == pytest.approx(student.ppf(0.975, 4) * sem(examples), rel=0.06)


def test_two_baselines_count_alike_and_their_own_difference_is_no_spread():
    a, b = np.ones((5, 20), np.int8), np.zeros((3, 20), np.int8)
    found = difference([a, b])
    assert found.mean == pytest.approx(0.5)
    assert found.half_width == pytest.approx(0.0)


@pytest.mark.slow
def test_equal_arms_are_found_apart_about_as_seldom_as_promised():
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        of_seeds, of_examples = rng.normal(0, 0.15, (5, 1)), rng.normal(0, 0.3, (1, 40))
        chance = np.clip(0.25 + of_seeds + of_examples, 0, 0.5)
        draw = rng.random((5, 40))
        pair = np.where(draw < chance, 1, np.where(draw < 0.5, -1, 0)).astype(np.int8)
        found.append(difference([pair]).p < 0.05)
    assert np.mean(found) <= 0.1


def test_arms_that_are_the_same_are_not_apart():
    assert difference([np.zeros((5, 20), np.int8)]).p == 1.0


def test_one_seed_is_too_few():
    with pytest.raises(ValueError, match="at least 2 pairs of seeds, but got 1"):
        difference([np.zeros((1, 20), np.int8)])
