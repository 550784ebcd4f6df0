"""Intervals and tests against published numbers."""

import numpy as np
import pytest

from branchfold.studies.statistics import holm, mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "examples", "low", "high"),
    [  # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(right, examples, low, high):
    assert wilson(right / examples, examples) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(1 - right / examples, examples)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def answers(both, first, second, neither):
    """Answers of two networks, by how many examples both have right, only the first, only the second, neither."""
    a = [True] * both + [True] * first + [False] * second + [False] * neither
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    order = np.random.default_rng(0).permutation(len(a))
    return np.array(a)[order], np.array(b)[order]


@pytest.mark.parametrize(
    ("table", "p_value"),
    [
        # mcnemar.exact(matrix(c(21, 9, 2, 12), 2, 2)) in Fay's vignette of R's exact2x2: 0.06543
        ((21, 9, 2, 12), 134 / 2048),
        ((21, 2, 9, 12), 134 / 2048),
        ((500, 10, 0, 10), 2 / 1024),
        ((0, 3, 3, 500), 1.0),
        ((500, 0, 0, 10), 1.0),
    ],
)
def test_mcnemars_exact_test_depends_on_the_examples_that_differ(table, p_value):
    assert mcnemar(*answers(*table)) == pytest.approx(p_value, abs=1e-12)


def test_holms_correction():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
