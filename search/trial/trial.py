"""One trial: branches are added and initialised, α falls, the network is folded, trained on, checked and measured."""

import copy
import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BranchfoldError, NetworkError
from ...models.branches.folding.folding import fold
from ...models.branches.network import BranchedNetwork
from ...models.branching import branched_at
from ...models.checkpoints import save_network
from ...models.examples import arguments, placed
from ...models.layers.copying import deep_copy
from ...models.layers.modes import evaluating
from ...models.layers.statistics import recompute_batch_norm
from ...models.tracing.inputs import copied, tensors_of, with_tensors
from ...studies.database.trials import Measurement
from ..space import Recipe
from ..training.arithmetic import PLAIN
from ..training.compute import Length, Meter
from ..training.fading import BranchTraining
from ..training.fitting import fit
from .baseline import describe
from .latency import compare_latency
from .measurement import judged, loss_of, metric_of
from .problem import Problem

# Folded and branched at α = 0 differ by rounding alone, in float64.
FOLDING_TOLERANCE = 1e-9
# On so many examples they are compared.
_COMPARED = 32


class Diverged(BranchfoldError):  # noqa: N818  what happened to a trial
    """The training loss of a trial is no longer a number."""


@dataclass(frozen=True)
class Report:
    """A trial's state at one of its milestones; number 0 is the initialised network.

    Attributes:
        number: of the report.
        compute: spent so far, in epochs of the baseline's training.
        alpha: mean α of the narrowed groups.
        metric: of the study on the validation split, at the current α.
        folded_metric: likewise at α = 0, BatchNorm statistics recomputed: what the trial would deliver now.
        loss: mean training loss since the report before; NaN before the first step.
        rate: the learning rate of the last step; NaN before the first one.
        alphas: mean α of each stage's groups, in the stages' order; none before the first step.
    """

    number: int
    compute: float
    alpha: float
    metric: float
    folded_metric: float
    loss: float
    rate: float = math.nan
    alphas: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON types; without a loss that is no number."""
        numbers = {key: value for key, value in asdict(self).items() if key != "alphas" and math.isfinite(value)}
        return numbers | ({"alphas": list(self.alphas)} if self.alphas else {})


OnReport = Callable[[Report], None]


@dataclass
class TrialResult:
    """What a trial leaves: the network in evaluation mode, what was measured of it, and how it came to that.

    Attributes:
        network: folded, with its BatchNorm statistics recomputed.
        measurement: on the validation split.
        scores: (N,) the metric of each of its examples; None where they have none of their own.
        compute: spent, in epochs of the baseline's training.
        folding_error: largest relative difference between folded and branched at α = 0, in float64.
        reports: of all milestones.
    """

    network: nn.Module
    measurement: Measurement
    scores: Tensor | None
    compute: float
    folding_error: float = 0.0
    reports: list[Report] = field(default_factory=list)


def run_trial(recipe: Recipe, baseline: nn.Module, problem: Problem, *, seed: int, on_report: OnReport) -> TrialResult:
    """Runs one recipe.

    Args:
        recipe: of the trial.
        baseline: the trained network; it is not changed.
        problem: the study's data and costs.
        seed: of everything random in the trial.
        on_report: told at every milestone, the last one after the last step; may end the trial by raising.

    Raises:
        Diverged: if the training loss is no longer a number.
        NetworkError: if the branches cannot be fitted.
    """
    torch.manual_seed(seed)
    table = problem.definition.trial
    start = initialised(recipe, baseline, problem)
    training = recipe.training
    taught = problem.taught(baseline, training.augment) if training.distillation > 0 else None
    batches = problem.training_batches(table.batch_size, seed=seed, augment=training.augment, known=taught)
    meter = problem.meter()
    check = _FoldCheck(with_tensors(arguments(problem.calibration_batches[0][0]), lambda x: x[:_COMPARED]))
    milestones = _Milestones(problem, meter, on_report)
    milestones.report(start, 1.0 if isinstance(start, BranchedNetwork) else 0.0, math.nan)
    module = BranchTraining(
        start.train(),
        recipe,
        problem.task,
        fold=check,
        arithmetic=problem.arithmetic,
        length=Length(meter, steps=len(batches) * (table.epochs or 0), compute=table.compute),
        teacher=baseline if taught is None else None,
        validation_loss=lambda network: loss_of(network, problem.glance, problem.task),
        after_step=milestones.passed,
    )
    fit(
        module,
        batches,
        epochs=-1 if table.epochs is None else table.epochs,
        callbacks=[],
        clip=training.clip,
        arithmetic=problem.arithmetic.at(training.precision),
        device=table.device,
    )
    network = delivered(module.network.cpu(), problem)
    found = judged(network, problem.validation_batches(), problem.task)
    _check_finite(found.value, problem)
    measurement = measure(network, found.value, recipe.widths, baseline, problem)
    return TrialResult(network, measurement, found.scores, meter.spent, check.error, milestones.reports)


def initialised(recipe: Recipe, baseline: nn.Module, problem: Problem) -> nn.Module:
    """The network at the trial's start; without a branch if the recipe narrows nothing."""
    branched = branched_at(
        baseline,
        problem.inputs,
        widths=recipe.widths,
        init=recipe.method,
        channels=recipe.channels,
        data=[arguments(inputs) for inputs, _ in problem.calibration_batches],
    )
    return branched if branched.plan.widths else fold(branched)


def delivered(network: nn.Module, problem: Problem) -> nn.Module:
    """What a network would be if the trial ended now: folded, its BatchNorm statistics recomputed; a new module."""
    folded = fold(network) if isinstance(network, BranchedNetwork) else deep_copy(network)
    PLAIN.arranged(folded)
    recompute_batch_norm(_Spread(folded), ((placed(inputs, folded),) for inputs, _ in problem.recalibration_batches))
    return folded.eval()


def measure(
    network: nn.Module, value: float, widths: dict[str, int], baseline: nn.Module, problem: Problem
) -> Measurement:
    """Metric, cost and latency of a folded network.

    Args:
        network: folded.
        value: of the metric on the validation split.
        widths: its groups' channels.
        baseline: that its latency is compared with.
        problem: the study's data and costs.
    """
    cost, full = problem.costs.cost(widths), problem.costs.full
    latency = compare_latency(network, baseline, problem.example(1), limit=problem.definition.study.budget.latency)
    return Measurement(
        metric=value,
        macs=cost.macs,
        macs_share=cost.macs / full.macs,
        parameters=cost.parameters,
        parameters_share=cost.parameters / full.parameters,
        latency=latency.milliseconds,
        latency_share=latency.share,
        latency_spread=latency.spread,
        latency_unsure=latency.unsure,
        latency_threads=latency.threads,
        latency_batch=latency.batch,
    )


def save_result(result: TrialResult, recipe: Recipe, problem: Problem, number: int, folder: Path) -> Path:
    """Writes the trial's network with its description to a file in `folder`."""
    path = folder / f"{problem.definition.study.name}-trial-{number}.safetensors"
    description = describe(problem, recipe.widths, result.measurement.metric, {"trial": number})
    save_network(result.network, path, description)
    return path


class _Spread(nn.Module):
    """A network that takes its arguments as one tuple, as torch's `update_bn` gives them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: tuple[Any, ...]) -> Any:
        return self.network(*inputs)


class _FoldCheck:
    """Folds groups, and compares with the branched network at their α = 0 on real inputs, in float64."""

    def __init__(self, inputs: tuple[Any, ...]) -> None:
        self.inputs, self.error = inputs, 0.0

    def __call__(self, branched: BranchedNetwork, groups: Collection[str]) -> nn.Module:
        branched.set_alpha(dict.fromkeys(groups, 0.0))
        exact = copy.deepcopy(branched).double()
        inputs = placed(self.inputs, exact)
        with evaluating(exact):
            expected, actual = exact(*copied(inputs)), fold(exact, groups).eval()(*copied(inputs))
        error = _difference(actual, expected)
        if math.isfinite(error):  # a diverged network is ended by the next report
            if error > FOLDING_TOLERANCE:
                raise NetworkError(
                    f"the folded network differs from the branched one by {error:.1e} of its outputs, more than "
                    f"{FOLDING_TOLERANCE}: a fault of branchfold's, please report it with the network"
                )
            self.error = max(self.error, error)
        return fold(branched, groups)


def _difference(actual: Any, expected: Any) -> float:
    """The largest difference of an output, relative to that output's largest value."""
    pairs = zip(tensors_of(actual), tensors_of(expected), strict=True)
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs if b.is_floating_point()]
    return math.nan if any(math.isnan(error) for error in errors) else max(errors, default=0.0)


def _check_finite(value: float, problem: Problem) -> None:
    if not math.isfinite(value):
        raise Diverged(f"the training diverged: {problem.task.metric.name} is {value} on the validation split")


class _Milestones:
    """Reports when the trial has come another share of its way."""

    def __init__(self, problem: Problem, meter: Meter, on_report: OnReport) -> None:
        self.problem, self.meter, self.on_report = problem, meter, on_report
        self.total = problem.definition.trial.reports
        self.reports: list[Report] = []

    def passed(self, module: BranchTraining) -> None:
        """Reports if the module has passed the next milestone; of several at once the last."""
        # k / n × n may land just below the whole number k.
        number = math.floor(module.progress * self.total + 1e-9)
        if number > self.reports[-1].number:
            self.report(module.network, module.alpha, module.take_loss(), number, module.rate, module.alphas)

    def report(
        self,
        network: nn.Module,
        alpha: float,
        loss: float,
        number: int = 0,
        rate: float = math.nan,
        alphas: tuple[float, ...] = (),
    ) -> None:
        validation = self.problem.validation_batches()
        folded = metric_of(delivered(network, self.problem), validation, self.problem.task)
        blended = metric_of(network, validation, self.problem.task) if alpha > 0 else folded
        report = Report(number, self.meter.spent, alpha, blended, folded, loss, rate, alphas)
        self.reports.append(report)
        self.on_report(report)
        if report.number > 0 and not math.isfinite(loss):
            raise Diverged(f"the training diverged: its loss is {loss}; a smaller learning rate may help")
        _check_finite(folded, self.problem)
