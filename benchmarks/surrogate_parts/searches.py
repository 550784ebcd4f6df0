"""Searches on a surrogate, each until it has spent the compute of so many whole trials."""

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from scipy.special import expit

from branchfold.benchmarks.surrogate_parts.model import REPORTS, Surrogate
from branchfold.models.cost import CostModel
from branchfold.search.run.rungs import Ladder
from branchfold.search.run.samplers import make_pruner, make_sampler
from branchfold.search.run.screening import WIDTHS, including, summary
from branchfold.search.space import Recipe, SearchSpace
from branchfold.search.space.known import REFERENCE, equal_widths, known_recipes, uniform_shares
from branchfold.studies.database.rungs import RUNG, rungs
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import Definition

RUNGS, FACTOR = 3, 3
FINALISTS, RUNS = 3, 2
METHODS = ("none", "median", "rungs")
SAMPLERS = ("tpe", "gp", "cma-es", "random")


class Setting(NamedTuple):
    """One way to search.

    Attributes:
        sampler: of Optuna's.
        method: what ends trials early: nothing, the median pruner, or rungs.
        known: whether known recipes come first.
        screened: whether widths are screened.
    """

    sampler: str
    method: str
    known: bool
    screened: bool


class World:
    """What recipes come to for one seed of a search; every recipe errs from the regressor as some recorded trial does.

    Args:
        surrogate: of the recorded trials.
        seed: of errors and noise.
    """

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate, self.random = surrogate, np.random.default_rng([seed, 1])
        self._known: dict[str, tuple[list[float], int]] = {}
        whole = surrogate.residuals["rung0"]
        # A part of what is not explained is another seed's to change: it is no part of the recipe.
        self._own = float(np.sqrt(max(0.0, 1.0 - surrogate.noise**2 / whole.var())))

    def truth(self, recipe: Recipe) -> float:
        """The accuracy of the whole trial, without the luck of a seed."""
        return float(expit(self._expected("rung0", recipe)))

    def run(self, name: str, recipe: Recipe, luck: float) -> float:
        """The accuracy of one run at a rung or report, with the luck of its seed in standard deviations."""
        return float(expit(self._expected(name, recipe) + luck * self.surrogate.noise))

    def _expected(self, name: str, recipe: Recipe) -> float:
        residuals, key = self.surrogate.residuals[name], repr(recipe)
        if key not in self._known:
            self._known[key] = self.surrogate.features(recipe), int(self.random.integers(len(residuals)))
        features, number = self._known[key]
        return self.surrogate.predict(name, features) + self._own * float(residuals[number])


@dataclass
class Search:
    """One search.

    Attributes:
        world: what recipes come to.
        definition: of the study.
        costs: of its network.
        setting: how to search.
        seed: of sampler, screening and luck.
        found: whole trials: recipe, and the accuracy that was seen.
        spent: compute, in whole trials.
        trials: that were begun.
    """

    world: World
    definition: Definition
    costs: CostModel
    setting: Setting
    seed: int
    found: list[tuple[Recipe, float]] = field(default_factory=list)
    spent: float = 0.0
    trials: int = 0

    def __post_init__(self) -> None:
        table = self.definition.search.model_copy(
            update={
                "sampler": self.setting.sampler,
                "pruner": "median" if self.setting.method == "median" else "none",
                "rungs": RUNGS if self.setting.method == "rungs" else 1,
                "reduction_factor": FACTOR,
            }
        )
        self.definition = self.definition.model_copy(update={"search": table})
        self.random = np.random.default_rng([self.seed, 2])

    def run(self, compute: float) -> float:
        """Searches; returns the true accuracy of what is delivered, after finalists.

        Args:
            compute: to be spent, in whole trials.
        """
        shares, queue = self._begun()
        space = SearchSpace(self.definition, self.costs, self._errors, shares)
        study = optuna.create_study(
            direction="maximize",
            sampler=make_sampler(self.definition, space.dimensions(), self.seed),
            pruner=make_pruner(self.definition),
        )
        for values, attributes in queue:
            study.enqueue_trial(values, user_attrs=attributes, skip_if_exists=True)
        ladder = Ladder(study, self.definition)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while self.spent < compute - 1e-6:
                ladder.promote()
                study.optimize(lambda trial: self._objective(trial, space, ladder), n_trials=1)
        return self._delivered()

    def _objective(self, trial: optuna.Trial, space: SearchSpace, ladder: Ladder) -> float:
        rung, recipe, luck = ladder.begin(trial), space.propose(trial), float(self.random.standard_normal())
        self.trials += 1
        if self.setting.method == "median":
            for number in range(REPORTS):
                trial.report(self.world.run(f"report{number}", recipe, luck), number)
                if trial.should_prune():
                    self.spent += number / REPORTS
                    raise optuna.TrialPruned
        self.spent += rung.share
        value = self.world.run(f"rung{rung.of - rung.number}", recipe, luck)
        if rung.is_whole:
            self.found.append((recipe, value))
            return value
        for key, each in Measurement(value, 1, 0.0, 1, 0.0, 1.0, 1.0)._asdict().items():
            trial.set_user_attr(key, each)
        raise optuna.TrialPruned

    def _delivered(self) -> float:
        best = sorted(self.found, key=lambda pair: -pair[1])[:FINALISTS]
        if self.setting.known:
            best += [pair for pair in self.found[:1] if pair not in best]
        means = [
            (np.mean([self.world.run("rung0", recipe, luck) for luck in self.random.standard_normal(RUNS)]), recipe)
            for recipe, _ in best
        ]
        return self.world.truth(max(means, key=lambda pair: pair[0])[1])

    def _begun(self) -> tuple[dict[str, Any], list[tuple[dict[str, Any], dict[str, Any]]]]:
        """What screening left of the shares' ranges, and the first trials with their attributes, as a study begins."""
        space = SearchSpace(self.definition, self.costs, self._errors)
        recipes = known_recipes(space, self.definition.search.recipes) if self.setting.known else {}
        shares, starts = self._screened(space) if self.setting.screened else ({}, [])
        queue: list[tuple[dict[str, Any], dict[str, Any]]] = []
        if REFERENCE in recipes:
            equal = equal_widths(space) if starts else {}
            top = rungs(self.definition.search.rungs, FACTOR)[-1]
            queue.append(({**recipes[REFERENCE], **equal}, {} if top.of == 1 else {RUNG: top.to_dict()}))
            shares = including(shares, equal)
        best = starts[0] if starts else {}
        queue += [({**values, **best}, {}) for values in recipes.values()]
        queue += [(dict(start), {}) for start in (starts[1:] if recipes else starts)]
        return shares, queue

    def _screened(self, space: SearchSpace) -> tuple[dict[str, Any], list[dict[str, float]]]:
        table = self.definition.screening
        study = optuna.create_study(sampler=TPESampler(seed=self.seed, multivariate=True, n_startup_trials=20))
        study.enqueue_trial(uniform_shares(space))

        def loss(trial: optuna.Trial) -> float:
            widths = space.propose_widths(trial)
            trial.set_user_attr(WIDTHS, widths)
            return self.world.surrogate.untrained_loss(widths)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study.optimize(loss, n_trials=table.candidates)
        judged = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        found = summary(space, judged, start=table.start, margin=table.margin)
        return found.shares, found.starts

    def _errors(self) -> dict[str, list[float]]:
        """Stands for the groups' errors: they decide an order that the surrogate knows by its name alone."""
        return {g.name: [1 - k / g.width for k in range(g.width + 1)] for g in self.costs.groups if g.prunable}
