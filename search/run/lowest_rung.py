"""What a sampler learns from where recipes are tried at several rungs: the lowest one, which all of them have passed.

Values of several rungs in one model would say that long trials are good, not which recipes are; and of the higher rungs
it would see the best recipes alone. Which recipes are worth more than a short trial is not the sampler's to find.
"""

import copy
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from ...studies.database.optuna_internals import SelectedStudy
from ...studies.database.rungs import rung_of
from ...studies.database.trials import metric_value


class LowestRungSampler(BaseSampler):
    """A sampler that sees the trials of the lowest rung alone, those with a result as complete ones.

    Args:
        sampler: that proposes.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler
        self._study: SelectedStudy | None = None
        self._seen: dict[int, FrozenTrial] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are proposed together."""
        return self.sampler.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Their values."""
        return self.sampler.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of a parameter that is proposed alone."""
        return self.sampler.sample_independent(self._view(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """What the sampler does before it proposes."""
        self.sampler.before_trial(self._view(study), trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """What it does after a trial."""
        self.sampler.after_trial(self._view(study), trial, state, values)

    def reseed_rng(self) -> None:
        """Seeds it anew."""
        self.sampler.reseed_rng()

    def _view(self, study: optuna.Study) -> SelectedStudy:
        if self._study is None:
            self._study = SelectedStudy(study, self._selected)
        return self._study

    def _selected(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        lowest = [trial for trial in trials if rung_of(trial).number == 1 and not rung_of(trial).is_whole]
        return [self._as_complete(trial) if trial.state == TrialState.PRUNED else trial for trial in lowest]

    def _as_complete(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.number not in self._seen:
            found, value = trial, metric_value(trial)
            if value is not None:
                found = copy.copy(trial)
                found.state, found.value = TrialState.COMPLETE, value
            self._seen[trial.number] = found
        return self._seen[trial.number]
