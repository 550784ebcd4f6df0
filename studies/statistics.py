"""What a metric on so many examples can tell: confidence intervals, and which networks differ at all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, permutation_test
from scipy.stats import bootstrap as resampled

CONFIDENCE = 0.95
# Of the chance that networks which are equally good differ by as much as was seen.
SIGNIFICANCE = 0.05
_RESAMPLES = 2000


class Interval(NamedTuple):
    """A confidence interval, in shares of 1."""

    low: float
    high: float


def wilson(accuracy: float, examples: int) -> Interval:
    """The 95 % interval of Wilson (1927) around an accuracy, which holds near 0 and 1 and for few examples as well.

    It is true of examples that nothing was chosen by; of the best among many the accuracy itself is too high.

    Args:
        accuracy: in [0, 1], the share of right ones.
        examples: how many were judged, at least 1.
    """
    found = binomtest(round(accuracy * examples), examples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def bootstrap(scores: npt.NDArray[np.float64]) -> Interval:
    """The 95 % interval around the mean of the examples' scores: the percentiles of 2,000 means of drawn ones.

    Bias-corrected and accelerated (Efron 1987) where the scores differ, the same on every call.

    Args:
        scores: (N,), N at least 2.
    """
    if scores.min() == scores.max():
        return Interval(float(scores[0]), float(scores[0]))
    found = resampled(
        (scores,), np.mean, n_resamples=_RESAMPLES, batch=100, confidence_level=CONFIDENCE, rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def permuted(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """How likely two equally good networks differ as much as these or more: a permutation test of pairs, two-sided.

    Where both are as good, either of an example's two scores might as well be the other network's.

    Args:
        a: (N,) the one's score on each example.
        b: (N,) the other's, on the same examples.
    """
    difference = a - b
    if not difference.any():
        return 1.0
    found = permutation_test(
        (difference,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=100,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def mcnemar(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """How likely two equally good networks differ as much as these or more: McNemar's exact test, two-sided.

    Of the examples that one of them has right and the other wrong, each has half: a binomial test.

    Args:
        a: (N,) whether the one has each example right.
        b: (N,) the same of the other, on the same examples.
    """
    ahead, behind = int((a & ~b).sum()), int((~a & b).sum())
    return float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): each may be compared with the significance as if it were alone.

    The i-th smallest of m is multiplied by m − i + 1, and is never less than a smaller one's, nor more than 1.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, least = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = least
    return corrected
