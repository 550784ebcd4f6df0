"""A regressor of recorded trials: what a recipe would come to at each rung, and on the way; with its held-out error."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm, spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from branchfold.names import BLENDINGS, ORDERS
from branchfold.search.space import Recipe
from branchfold.search.space.courses import alphas_of

Array = npt.NDArray[np.float64]

# Places of a trial at which the mean α is a feature.
_PLACES = 9
_FOLDS = 10
# Accuracies are fitted as log odds, so that 96 and 97 % are as far apart as 80 and 84 %.
_LEAST, _MOST = 0.02, 0.998


@dataclass(frozen=True)
class Recorded:
    """The recorded trials.

    Attributes:
        trials: one dictionary for each recipe.
        again: likewise of second runs, on another seed.
        widths: of the full network.
    """

    trials: list[dict[str, Any]]
    again: list[dict[str, Any]]
    widths: dict[str, int]

    @staticmethod
    def read(path: Path) -> "Recorded":
        """What the file holds: JSON lines, compressed, the first of them about the study."""
        with gzip.open(path, "rt") as file:
            about, *lines = map(json.loads, file)
        whole = [line for line in lines if all(rung["metric"] is not None for rung in line["rungs"])]
        return Recorded(
            [line for line in whole if not line["again"]], [line for line in whole if line["again"]], about["widths"]
        )

    def noise(self) -> float:
        """The standard deviation of a run's log odds about its recipe's, from the recipes that ran twice.

        By the median difference: a few runs collapse, and so many standard deviations are no normal distribution's.
        """
        return self._spread(_odds)

    def noise_points(self) -> float:
        """The same of the accuracy, in points."""
        return self._spread(lambda metric: 100 * metric)

    def _spread(self, scale: Callable[[float], float]) -> float:
        first = {line["number"]: line for line in self.trials}
        pairs = [(first[line["number"]], line) for line in self.again if line["number"] in first]
        differences = [scale(a["rungs"][0]["metric"]) - scale(b["rungs"][0]["metric"]) for a, b in pairs]
        return float(np.median(np.abs(differences)) / norm.ppf(0.75) / np.sqrt(2))


class Surrogate:
    """Regressors of the log odds of every accuracy that was recorded: at each rung, and at the whole trial's reports.

    Args:
        recorded: the trials.
    """

    def __init__(self, recorded: Recorded) -> None:
        self.full, self.noise = recorded.widths, recorded.noise()
        x = np.array([self.features(Recipe.from_dict(line["recipe"])) for line in recorded.trials])
        self.outputs = {name: np.array([target[name] for target in map(_targets, recorded.trials)]) for name in NAMES}
        self.predicted = {name: _held_out(x, y) for name, y in self.outputs.items()}
        self.regressors = {name: _regressor().fit(x, y) for name, y in self.outputs.items()}
        # What the features do not explain, one row a trial: rungs of one recipe err together.
        self.residuals = {name: y - self.predicted[name] for name, y in self.outputs.items()}
        wide = np.array([self._width_features(line["recipe"]["widths"]) for line in recorded.trials])
        loss = np.log([line["untrained_loss"] for line in recorded.trials])
        self._loss_error = _agreement(loss, _held_out(wide, loss))
        self._loss = _regressor().fit(wide, loss)

    def features(self, recipe: Recipe) -> list[float]:
        """What is known of a recipe before it runs."""
        training, stages = recipe.training, recipe.stages
        alphas = alphas_of(recipe, _PLACES) if recipe.shape != "instant" else (0.0,) * _PLACES
        if not alphas:  # plateau's follow from the losses; it ends where it is told to
            alphas = tuple(np.clip(1 - np.linspace(0, 1, _PLACES) / recipe.fade, 0, 1))
        return [
            float(recipe.shape == "instant"),
            float(recipe.shape == "plateau"),
            recipe.fade,
            float(np.mean(alphas)),
            *alphas[1:-1],
            np.log(training.lr),
            float(training.restarts == "stages"),
            training.distillation,
            float(training.augment),
            float(stages.count),
            *(float(stages.order == order) for order in ORDERS),
            *(float(recipe.blending == mode) for mode in BLENDINGS),
            *self._width_features(recipe.widths),
        ]

    def predict(self, name: str, features: list[float]) -> float:
        """The log odds of one of `NAMES` by the regressor alone."""
        return float(self.regressors[name].predict(np.array([features]))[0])

    def untrained_loss(self, widths: Mapping[str, int]) -> float:
        """Logarithm of the validation loss of the network with these widths, initialised and not trained."""
        return float(self._loss.predict(np.array([self._width_features(widths)]))[0])

    def agreement(self) -> dict[str, Any]:
        """How well held-out trials are predicted: the mean error in points, and the rank correlation."""
        told = {name: _agreement(y, self.predicted[name]) for name, y in self.outputs.items()}
        errors = {
            name: float(100 * np.mean(np.abs(expit(y) - expit(self.predicted[name]))))
            for name, y in self.outputs.items()
        }
        return {
            **{name: {"error_points": errors[name], "rank_correlation": told[name]} for name in NAMES},
            "untrained_loss": {"rank_correlation": self._loss_error},
        }

    def _width_features(self, widths: Mapping[str, int]) -> list[float]:
        shares = [float(np.log(widths[name] / full)) for name, full in self.full.items()]
        return [*shares, min(shares)]


def correlations(recorded: Recorded) -> dict[str, float]:
    """Rank correlations of what was recorded with the accuracy of the whole trial."""
    targets = list(map(_targets, recorded.trials))
    whole = np.array([target["rung0"] for target in targets])
    told = {
        name: _agreement(whole, np.array([target[name] for target in targets])) for name in NAMES if name != "rung0"
    }
    loss = np.array([-line["untrained_loss"] for line in recorded.trials])
    return {**told, "untrained_loss": _agreement(whole, loss)}


# The accuracies that are predicted: so many rungs below the whole trial, and at the whole trial's reports.
REPORTS = 5
NAMES = ("rung0", "rung1", "rung2", *(f"report{number}" for number in range(REPORTS)))


def _targets(line: Mapping[str, Any]) -> dict[str, float]:
    found = {f"rung{rung['below']}": _odds(rung["metric"]) for rung in line["rungs"]}
    whole = next(rung for rung in line["rungs"] if rung["below"] == 0)
    metrics = [metric for _, metric in whole["history"]]
    metrics += metrics[-1:] * (REPORTS - len(metrics))  # a long stage may pass several milestones in one step
    return {**found, **{f"report{number}": _odds(metrics[number]) for number in range(REPORTS)}}


def _odds(metric: float) -> float:
    return float(logit(np.clip(metric, _LEAST, _MOST)))


def _regressor() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=200, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=8, random_state=0
    )


def _held_out(x: Array, y: Array) -> Array:
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    found: Array = cross_val_predict(_regressor(), x, y, cv=folds)
    return found


def _agreement(a: Sequence[float] | Array, b: Sequence[float] | Array) -> float:
    return float(spearmanr(a, b).statistic)
