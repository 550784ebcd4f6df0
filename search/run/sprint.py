"""The second rung of a screening: equal shares and the best widths are trained for a few steps, and ranked by that.

The untrained loss alone may prefer widths that train worse than equal shares do (`benchmarks/predictors.py`).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import optuna
from optuna.trial import FixedTrial
from torch import nn

from ...studies.definition.dimensions import Fixed, Range
from ..digests import digest_of_values
from ..events import Listener, Notice
from ..space import Recipe, SearchSpace
from ..space.known import RECIPES, REFERENCE, uniform_shares
from ..space.recipe import Training
from ..training.compute import Length
from ..training.fading import BranchTraining
from ..training.fitting import fit
from ..training.states import seed_random
from ..trial.measurement import loss_of
from ..trial.problem import Problem
from ..trial.trial import delivered

# Of a trial's steps a sprint takes no more than this share.
_LONGEST = 0.25
# Attributes of the screening's study: a runner's loss, by what its widths are called.
_SPRINT = "sprint-"

Widths = Mapping[str, int]
Folded = Callable[[dict[str, int]], nn.Module]


def ranked_by_sprints(
    study: optuna.Study,
    ranked: Sequence[Widths],
    space: SearchSpace,
    folded: Folded,
    problem: Problem,
    notify: Listener,
) -> list[dict[str, int]]:
    """The widths that trained best in a few steps, the best first; none where the definition wants no sprints.

    Several processes may do this at once. Each takes what no other has recorded, in an order of its own, so that two
    seldom train the same; what is recorded is not trained again.

    Args:
        study: of the screening.
        ranked: widths that it judged, the least loss first.
        space: as the definition has it.
        folded: gives the untrained network of widths.
        problem: the study's.
        notify: receives a line about the outcome.
    """
    table = problem.definition.screening
    if not table.sprints:
        return []
    wanted = runners(ranked, space, table.sprints)
    own_order = list(wanted)
    random.SystemRandom().shuffle(own_order)
    news = False
    for widths in own_order:
        if _key(widths) not in study.user_attrs:
            study.set_user_attr(_key(widths), _loss_after(folded(dict(widths)), widths, training_of(space), problem))
            news = True
    losses = study.user_attrs
    best_first = sorted(wanted, key=lambda widths: _order(losses[_key(widths)]))
    if news:
        notify(Notice(_told(best_first, ranked, space, problem)))
    return best_first


def runners(ranked: Sequence[Widths], space: SearchSpace, count: int) -> list[dict[str, int]]:
    """Equal shares, then in turn the next best widths and, with a share for each group, those half-way to them.

    Args:
        ranked: widths, the least untrained loss first.
        space: of the study.
        count: how many are wanted; fewer where there are no more.
    """
    equal = _equal(space)
    own_shares = space.table.keep.per == "layer"  # else only what was proposed has parameters
    found = [equal] if own_shares or equal in ranked else []
    for widths in ranked:
        halfway = [between(space, equal, widths)] if own_shares else []
        found += [each for each in (dict(widths), *halfway) if each not in found]
    return found[:count]


def between(space: SearchSpace, start: Widths, end: Widths, share: float = 0.5) -> dict[str, int]:
    """Widths within the budget that lie between two on the straight line of their logarithms.

    Args:
        space: of the study.
        start: widths at share 0.
        end: widths at share 1.
        share: in [0, 1].
    """
    logarithms = {name: (1 - share) * math.log(start[name]) + share * math.log(end[name]) for name in space.full}
    return space.widths({name: min(1.0, math.exp(logarithms[name]) / full) for name, full in space.full.items()})


def sprinted(network: nn.Module, problem: Problem, training: Training, *, steps: int, seed: int) -> nn.Module:
    """A folded network after a short training of its own: the rate runs its whole course in these steps.

    Args:
        network: folded; it is trained and must not be used again.
        problem: the study's.
        training: how; distillation is left out.
        steps: of training, each of one batch.
        seed: of everything random in it.
    """
    seed_random(seed)
    training = replace(training, distillation=0.0)
    module = BranchTraining(
        network.train(),
        Recipe(shape="instant", parameters={}, fade=0.0, widths={}, training=training),
        problem.task,
        fold=lambda branched, groups: branched,
        length=Length(problem.meter(), steps=steps),
        arithmetic=problem.arithmetic,
    )
    fit(
        module,
        problem.training_batches(problem.definition.trial.batch_size, seed=seed, augment=training.augment),
        epochs=-1,  # the module ends it when its length is through
        callbacks=[],
        clip=training.clip,
        arithmetic=problem.arithmetic.at(training.precision),
        device=problem.definition.trial.device,
    )
    return delivered(module.network.cpu(), problem)


def training_of(space: SearchSpace) -> Training:
    """How the reference recipe trains, as far as the space has room for it."""
    table = space.table.training
    fixed: dict[str, Any] = {
        field.name: dimension.value
        for field in fields(Training)
        if isinstance(dimension := getattr(table, field.name), Fixed)
    }
    rate = float(RECIPES[REFERENCE]["training.lr"])
    if isinstance(table.lr, Range):
        rate = min(max(rate, table.lr.low), table.lr.high)
    return Training(**{"lr": rate, **fixed})


def _equal(space: SearchSpace) -> dict[str, int]:
    return space.propose_widths(FixedTrial(uniform_shares(space)))


def steps_of(widths: Widths, problem: Problem) -> int:
    """Steps of a sprint: as the definition has them, but of a short trial no more than a quarter.

    Args:
        widths: of the network, whose cost decides how many steps a trial's compute is.
        problem: the study's.
    """
    table, meter = problem.definition.trial, problem.meter()
    meter.spend(problem.costs.cost(widths).macs, table.batch_size)
    an_epoch = max(1, len(problem.data.train) // table.batch_size)
    whole = table.compute / meter.spent if table.compute is not None else an_epoch * (table.epochs or 1)
    return min(problem.definition.screening.steps, max(1, round(_LONGEST * whole)))


def _loss_after(network: nn.Module, widths: Widths, training: Training, problem: Problem) -> float | None:
    """Validation loss of the network with these widths after the sprint; None where it diverged."""
    steps, seed = steps_of(widths, problem), problem.definition.study.seed
    after = sprinted(network, problem, training, steps=steps, seed=seed)
    loss = loss_of(after, problem.validation_batches(), problem.task)
    return loss if math.isfinite(loss) else None


def _order(loss: float | None) -> float:
    return math.inf if loss is None else loss


def _told(best_first: Sequence[Widths], ranked: Sequence[Widths], space: SearchSpace, problem: Problem) -> str:
    meter, steps = problem.meter(), [steps_of(widths, problem) for widths in best_first]
    for widths, taken in zip(best_first, steps, strict=True):
        meter.spend(problem.costs.cost(widths).macs, taken * problem.definition.trial.batch_size)
    best, equal = best_first[0], _equal(space)
    what = "equal shares" if best == equal else "screened widths" if best in ranked else "widths half-way to equal ones"
    return (
        f"{len(best_first)} widths trained {max(steps)} steps each ({meter.spent:.2g} epochs of compute): "
        f"{what} came out ahead"
    )


def _key(widths: Widths) -> str:
    return _SPRINT + digest_of_values(sorted(widths.items()))
