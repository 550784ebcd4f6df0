"""Rank correlations of predictors with trained accuracy, and what a pick by each costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

Array = npt.NDArray[np.float64]
Row = Mapping[str, Any]

_RESAMPLES = 4000
# Weights of the deviation from equal shares that are tried beside a loss.
PENALTIES = (0.1, 0.3, 1.0, 3.0)
# The second rung: so many of the best by untrained loss, and equal shares, are ranked by the loss after the steps.
_RUNNERS = 4


def _of(kind: str, measure: str) -> Callable[[Row], float]:
    sign = -1.0 if measure in ("accuracy", "agreement") else 1.0
    return lambda row: sign * float(row[kind][measure])


def _penalised(kind: str, weight: float) -> Callable[[Row], float]:
    return lambda row: float(row[kind]["loss"]) + weight * float(row["unevenness"])


PREDICTORS: dict[str, Callable[[Row], float]] = {
    "untrained loss": _of("untrained", "loss"),
    "untrained accuracy": _of("untrained", "accuracy"),
    "untrained, divergence from the baseline": _of("untrained", "divergence"),
    "untrained, squared distance of logits": _of("untrained", "logits"),
    "untrained, agreement with the baseline": _of("untrained", "agreement"),
    "untrained loss, a quarter of the calibration images": _of("untrained on few", "loss"),
    "untrained loss on the calibration images": _of("training images", "loss"),
    **{f"untrained loss + {weight:g} × unevenness": _penalised("untrained", weight) for weight in PENALTIES},
    "unevenness": lambda row: float(row["unevenness"]),
    "parameters": lambda row: -float(row["parameters"]),
    "loss after 15 steps": _of("15 steps", "loss"),
    "accuracy after 15 steps": _of("15 steps", "accuracy"),
    "divergence after 15 steps": _of("15 steps", "divergence"),
    "loss after 40 steps": _of("40 steps", "loss"),
    "accuracy after 40 steps": _of("40 steps", "accuracy"),
    "divergence after 40 steps": _of("40 steps", "divergence"),
}


class Measured(NamedTuple):
    """A subject's candidates that have been both judged and trained.

    Attributes:
        origins: of the candidates, equal shares first.
        rows: what predicts.
        accuracies: (candidates, seeds) after training; NaN where a seed has not been run.
        losses: likewise.
    """

    origins: list[str]
    rows: list[Row]
    accuracies: Array
    losses: Array

    @property
    def accuracy(self) -> Array:
        """(candidates,) mean over the seeds."""
        return np.asarray(np.nanmean(self.accuracies, 1))


def measured(records: Sequence[Row]) -> Measured:
    """The candidates of `records.jsonl` that are complete."""
    predicted = {row["candidate"]: row for row in records if row["kind"] == "predictors"}
    trained = {(row["candidate"], row["kind"]): row for row in records if row["kind"] != "predictors"}
    seeds = sorted({kind for _, kind in trained})
    numbers = [number for number in sorted(predicted) if (number, "seed 0") in trained]

    def values(measure: str) -> Array:
        found = [[trained.get((number, seed), {}).get(measure, np.nan) for seed in seeds] for number in numbers]
        return np.array(found, dtype=float)

    rows = [predicted[number] for number in numbers]
    return Measured([row["origin"] for row in rows], rows, values("accuracy"), values("loss"))


def correlation(scores: Array, accuracies: Array) -> tuple[float, float, float]:
    """Spearman's coefficient, positive where lower scores train to higher accuracies, with its 95 % interval.

    The interval is a bootstrap over candidates.
    """
    found = float(spearmanr(-scores, accuracies).statistic)
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = generator.integers(0, len(scores), len(scores))
        if len({*scores[chosen].tolist()}) > 1 and len({*accuracies[chosen].tolist()}) > 1:
            drawn.append(float(spearmanr(-scores[chosen], accuracies[chosen]).statistic))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return found, float(low), float(high)


def judgement(scores: Array, accuracies: Array, losses: Array) -> dict[str, float]:
    """Correlation, and what the candidate of the least score is worth: over equal shares, and below the best.

    The correlation with the trained loss is told too: a loss is less noisy than an accuracy.
    """
    found, low, high = correlation(scores, accuracies)
    of_loss, of_loss_low, of_loss_high = correlation(scores, -losses)
    pick = int(np.argmin(scores))
    return {
        "spearman": found,
        "low": low,
        "high": high,
        "spearman_of_loss": of_loss,
        "low_of_loss": of_loss_low,
        "high_of_loss": of_loss_high,
        "over_equal": float(accuracies[pick] - accuracies[0]),
        "below_best": float(accuracies.max() - accuracies[pick]),
    }


def second_rung(found: Measured, kind: str) -> dict[str, float]:
    """What a pick is worth by the loss after a sprint among the best by untrained loss and equal shares."""
    first = np.array([PREDICTORS["untrained loss"](row) for row in found.rows])
    runners = {0, *(int(number) for number in np.argsort(first)[:_RUNNERS])}
    pick = min(runners, key=lambda number: float(found.rows[number][kind]["loss"]))
    accuracies = found.accuracy
    return {
        "over_equal": float(accuracies[pick] - accuracies[0]),
        "below_best": float(accuracies.max() - accuracies[pick]),
    }


def analysed(records: Sequence[Row]) -> dict[str, Any]:
    """All that one subject says."""
    found = measured(records)
    accuracies, losses = found.accuracy, np.nanmean(found.losses, 1)
    named = {name: np.array([of(row) for row in found.rows]) for name, of in PREDICTORS.items()}
    both = found.accuracies[~np.isnan(found.accuracies).any(1)]
    noise = {}
    if both.shape[1] > 1 and len(both) > 2:
        noise = {
            "candidates": len(both),
            "spearman_between_seeds": float(spearmanr(both[:, 0], both[:, 1]).statistic),
            "deviation_between_seeds": float(np.std(both[:, 0] - both[:, 1]) / np.sqrt(2)),
            "deviation_between_candidates": float(np.std(both.mean(1))),
        }
    return {
        "candidates": [
            {
                "origin": origin,
                "untrained_loss": float(row["untrained"]["loss"]),
                "loss_after_40_steps": float(row["40 steps"]["loss"]),
                "unevenness": float(row["unevenness"]),
                "trained": [value for value in values if not np.isnan(value)],
                "trained_loss": loss,
            }
            for origin, row, values, loss in zip(
                found.origins, found.rows, found.accuracies.tolist(), losses.tolist(), strict=True
            )
        ],
        "seeds": noise,
        "predictors": {name: judgement(scores, accuracies, losses) for name, scores in named.items()},
        "second_rung": {kind: second_rung(found, kind) for kind in ("15 steps", "40 steps")},
    }
