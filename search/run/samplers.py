"""Optuna's samplers and pruners by the names that a definition gives them."""

import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...errors import StudyError
from ...studies.definition.dimensions import Dimension, Range
from ...studies.definition.reading import Definition
from ..space import SearchSpace
from .lowest_rung import LowestRungSampler

# Finished trials before their median says something about the next one.
TRIALS_BEFORE_PRUNING = 5
# Share of the median metric from which an initialised network is worth training; of one that is minimised, the median's
# share of it.
HOPEFUL = 0.5
# Initialised networks are compared where these are the same: a selection of channels begins lower than fitted branches.
_COMPARABLE = ("initialisation.method", "initialisation.channels")


class UntrainedOrMedianPruner(BasePruner):
    """Ends a trial whose initialised network is without hope, and after some reports one below the median.

    Without hope is less than half of the metric that other trials' networks, initialised in the same way, have at the
    median, or more than twice of it where it is minimised: such widths end before any training.

    Args:
        warm_up: reports before the median counts.
    """

    def __init__(self, warm_up: int) -> None:
        self._median = MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=warm_up)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends now."""
        if trial.last_step != 0:
            return bool(self._median.prune(study, trial))
        others = [
            other.intermediate_values[0]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
            if 0 in other.intermediate_values
            and all(other.params.get(name) == trial.params.get(name) for name in _COMPARABLE)
        ]
        if len(others) < TRIALS_BEFORE_PRUNING:
            return False
        mine, median = trial.intermediate_values[0], statistics.median(others)
        if study.direction == StudyDirection.MINIMIZE:
            return HOPEFUL * mine > median > 0
        return mine < HOPEFUL * median


def check_search(definition: Definition, space: SearchSpace) -> None:
    """Checks, before anything of a study is made, that its sampler and pruner can be had and its widths be screened.

    Raises:
        StudyError: if not.
    """
    make_sampler(definition, space.dimensions(), seed=0)
    make_pruner(definition)
    if definition.search.sampler == "grid" and definition.screening.candidates and space.searches_widths:
        raise StudyError(
            'search.sampler = "grid" cannot be screened: screening searches widths between the steps; '
            "set screening.candidates = 0"
        )


def make_sampler(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    """Optuna's sampler of the definition's name.

    Args:
        definition: the study.
        dimensions: all parameters of its space; a grid needs them to be finite.
        seed: of what it draws.

    Raises:
        StudyError: if the sampler needs a package that is not installed, or a grid a range that has no steps.
    """
    name = definition.search.sampler
    try:
        with _without_experimental_warnings():
            sampler = SAMPLERS[name](definition, dimensions, seed)
            return sampler if definition.search.rungs == 1 else LowestRungSampler(sampler)
    except ImportError as error:
        raise StudyError(
            f'search.sampler = "{name}" needs a package that is not installed: {error}; '
            f"pip install cmaes, or take another sampler"
        ) from error


def make_pruner(definition: Definition) -> BasePruner:
    """Optuna's pruner of the definition's name; reports are numbered from 0, the initialised network."""
    with _without_experimental_warnings():
        return PRUNERS[definition.search.pruner](definition.trial.reports)


@contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _tpe(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=definition.search.startup_trials, constant_liar=True)


def _gp(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=definition.search.startup_trials)


def _cma_es(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    import_module("cmaes")  # Optuna imports it only when the first trial after the random ones is proposed
    startup = definition.search.startup_trials
    return CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


def _nsga2(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=_population(definition))


def _nsga3(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    return NSGAIIISampler(seed=seed, population_size=_population(definition))


def _random(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _population(definition: Definition) -> int:
    """Several generations in a study, and enough in each to cross."""
    return max(4, min(50, definition.study.trials // 5))


def _grid(definition: Definition, dimensions: Mapping[str, Dimension], seed: int) -> BaseSampler:
    """Each combination once, of the parameters that are proposed together: most depend on others."""
    for name, dimension in dimensions.items():
        if isinstance(dimension, Range) and not _is_finite(dimension):
            raise StudyError(
                f'search.sampler = "grid" needs steps, but space.{name} is a range without: give it a step, '
                f"a list of values, or one value"
            )
    return BruteForceSampler(seed=seed)


def _is_finite(dimension: Range) -> bool:
    return dimension.step is not None or dimension.is_integer or dimension.low == dimension.high


# By name: samplers from the study, all parameters of its space and a seed; pruners from the number of reports.
SAMPLERS: dict[str, Callable[[Definition, Mapping[str, Dimension], int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cma-es": _cma_es,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "random": _random,
    "grid": _grid,
}
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "median": lambda reports: UntrainedOrMedianPruner(warm_up=max(1, reports // 3)),
    "hyperband": lambda reports: HyperbandPruner(min_resource=1, max_resource=reports),
    "wilcoxon": lambda reports: WilcoxonPruner(n_startup_steps=max(2, reports // 3)),
    "none": lambda reports: NopPruner(),
}
