"""How far two arms are apart, over seeds and examples, and how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from branchfold.studies.statistics import CONFIDENCE

_RESAMPLES = 2000
# The chance with which a difference of the size called visible would have been found.
_POWER = 0.8


class Difference(NamedTuple):
    """The first arm's accuracy less the second's, in shares of 1.

    Attributes:
        mean: over baselines, seeds and examples.
        half_width: of the 95 % interval around it.
        p: how likely equal arms differ as much as these or more, two-sided.
        visible: the smallest true difference that such an interval excludes 0 for in 80 of 100 maps.
    """

    mean: float
    half_width: float
    p: float
    visible: float

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half_width


def difference(pairs: Sequence[npt.NDArray[np.int8]]) -> Difference:
    """Two arms' difference with Student's interval around it; the error is bootstrapped over seeds and examples.

    Both are drawn anew independently of each other (the pigeonhole bootstrap of Owen 2007, which is slightly too wide
    rather than too narrow), the seeds within their baseline, the examples alike for all, since the test split is one.
    The seeds' part is widened by √(S / (S − 1)), which a bootstrap of S seeds lacks.

    Args:
        pairs: for each baseline (S, N): right by the first arm less right by the second, of each pair of runs with the
            same seed and of each example; S at least 2.
    """
    rows = np.concatenate([pair.astype(np.float64) for pair in pairs])
    seeds = [len(pair) for pair in pairs]
    if min(seeds) < 2:
        raise ValueError(f"a difference needs at least 2 pairs of seeds, but got {min(seeds)}")
    mean = float(np.mean([pair.mean() for pair in pairs]))
    error = float(np.std(_drawn(rows, seeds), ddof=1))
    freedom = len(rows) - len(pairs)
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, freedom))
    p = float(2 * student.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return Difference(mean, quantile * error, p, (quantile + float(student.ppf(_POWER, freedom))) * error)


def _drawn(rows: npt.NDArray[np.float64], seeds: Sequence[int]) -> npt.NDArray[np.float64]:
    """(2,000,) differences of drawn seeds and examples."""
    rng, examples = np.random.default_rng(0), rows.shape[1]
    found = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        chosen = rng.integers(examples, size=examples, dtype=np.int32)
        found[i] = _weights(rng, seeds) @ rows[:, chosen].mean(1)
    return found


def _weights(rng: np.random.Generator, seeds: Sequence[int]) -> npt.NDArray[np.float64]:
    """What each row counts in one draw; their sum is 1."""
    parts = []
    for count in seeds:
        drawn = rng.multinomial(count, np.full(count, 1 / count)) / count
        parts.append((1 / count + (drawn - 1 / count) * np.sqrt(count / (count - 1))) / len(seeds))
    return np.concatenate(parts)
