"""One trial: branches are added and initialised, α falls, the network is folded, trained on, checked and measured."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import BranchfoldError
from ...models.branches.folding.folding import fold
from ...models.branches.network import BranchedNetwork
from ...models.branching import branched_at, observed
from ...models.checkpoints import save_network
from ...models.examples import arguments, placed
from ...models.fitting.original import Original
from ...models.layers.copying import deep_copy
from ...models.layers.statistics import recompute_batch_norm
from ...studies.database.trials import Measurement
from ..space import Recipe
from ..training.arithmetic import PLAIN, Arithmetic
from ..training.checkpoint import Checkpoint, place_of
from ..training.compute import Length, Meter
from ..training.fading import BranchTraining
from ..training.fitting import fit
from ..training.passes import Passes
from ..training.states import State, seed_random
from .baseline import describe
from .fold_check import FoldCheck
from .latency import compare_latency
from .measurement import judged, loss_of, metric_of
from .problem import Problem
from .report import OnReport as OnReport
from .report import OnResume
from .report import Report as Report


class Diverged(BranchfoldError):  # noqa: N818  what happened to a trial
    """The training loss of a trial is no longer a number."""


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


def run_trial(
    recipe: Recipe,
    baseline: nn.Module,
    problem: Problem,
    *,
    seed: int,
    on_report: OnReport,
    checkpoint: Checkpoint | None = None,
    on_resume: OnResume = lambda reports, seconds, elapsed: None,
) -> TrialResult:
    """Runs one recipe, or goes on where an earlier process was stopped in it.

    Args:
        recipe: of the trial.
        baseline: the trained network; it is not changed.
        problem: the study's data and costs.
        seed: of everything random in the trial.
        on_report: told at every milestone, the last one after the last step; may end the trial by raising.
        checkpoint: where its state is kept while it trains; without one a stop loses it.
        on_resume: told the reports of a trial that goes on, which `on_report` is not told again.

    Raises:
        Diverged: if the training loss is no longer a number.
        NetworkError: if the branches cannot be fitted.
        Interrupted: if asked to stop while it trains; with a checkpoint, once it is written.
    """
    seed_random(seed)
    table, training = problem.definition.trial, recipe.training
    state = None if checkpoint is None else checkpoint.load()
    start = initialised(recipe, baseline, problem) if state is None else structure(recipe, baseline, problem)
    taught = problem.taught(baseline, training.augment) if training.distillation > 0 else None
    at = None if state is None else place_of(state)
    whole = problem.training_batches(table.batch_size, seed=seed, augment=training.augment, known=taught)
    batches = Passes(whole, at)
    meter = problem.meter()
    check = FoldCheck(arguments(problem.calibration_batches[0][0]))
    milestones = _Milestones(problem, meter, on_report)
    if state is None:
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
    if state is not None:
        module.resume(state["training"])
        check.error = state["folding_error"]
        milestones.resume(state["milestones"])
        on_resume(milestones.reports, milestones.seconds, milestones.elapsed)

    def more() -> State:
        return {"folding_error": check.error, "milestones": milestones.state()}

    fit(
        module,
        batches,
        epochs=-1,  # the module ends the trial when its length is through
        callbacks=[],
        clip=training.clip,
        arithmetic=problem.arithmetic.at(training.precision),
        device=table.device,
        checkpoint=checkpoint,
        more=more,
    )
    result = _judged(delivered(module.network.cpu(), problem), recipe, baseline, problem)
    return replace(result, compute=meter.spent, folding_error=check.error, reports=milestones.reports)


def _judged(network: nn.Module, recipe: Recipe, baseline: nn.Module, problem: Problem) -> TrialResult:
    """What a trained and folded network is worth, without what it took to get there."""
    found = judged(network, problem.validation_batches(), problem.task)
    _check_finite(found.value, problem)
    measurement = measure(network, found.value, recipe.widths, baseline, problem)
    return TrialResult(network, measurement, found.scores, compute=0.0)


def structure(recipe: Recipe, baseline: nn.Module, problem: Problem) -> nn.Module:
    """The network at the trial's start but for its branches' values, which a checkpoint has."""
    branched = branched_at(baseline, problem.inputs, widths=recipe.widths, init="kaiming")
    return branched if branched.plan.widths else fold(branched)


def initialised(recipe: Recipe, baseline: nn.Module, problem: Problem, known: Original | None = None) -> nn.Module:
    """The network at the trial's start; without a branch if the recipe narrows nothing.

    Args:
        recipe: of the trial.
        baseline: the trained network; it is not changed.
        problem: the study's data.
        known: what `looked_at` gave for the baseline; it serves all recipes.
    """
    branched = branched_at(
        baseline,
        problem.inputs,
        widths=recipe.widths,
        init=recipe.method,
        channels=recipe.channels,
        data=_calibration(problem),
        known=known,
    )
    return branched if branched.plan.widths else fold(branched)


def looked_at(baseline: nn.Module, problem: Problem) -> Original:
    """What branches of any widths begin with on the study's calibration examples; the baseline runs once for all."""
    return observed(baseline, problem.inputs, _calibration(problem))


def _calibration(problem: Problem) -> list[tuple[Any, ...]]:
    return [arguments(inputs) for inputs, _ in problem.calibration_batches]


def delivered(network: nn.Module, problem: Problem, arithmetic: Arithmetic = PLAIN) -> nn.Module:
    """What a network would be if the trial ended now: folded, its BatchNorm statistics recomputed; a new module.

    Args:
        network: branched or folded; it is not changed.
        problem: the study's data.
        arithmetic: that the statistics' batches run in, and how its weights lie in memory.
    """
    folded = fold(network) if isinstance(network, BranchedNetwork) else deep_copy(network)
    arithmetic.arranged(folded)
    with arithmetic.running(next(folded.parameters()).device):
        recompute_batch_norm(
            _Spread(folded), ((placed(inputs, folded),) for inputs, _ in problem.recalibration_batches)
        )
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


def _check_finite(value: float, problem: Problem) -> None:
    if not math.isfinite(value):
        raise Diverged(f"the training diverged: {problem.task.metric.name} is {value} on the validation split")


class _Milestones:
    """Reports when the trial has come another share of its way."""

    def __init__(self, problem: Problem, meter: Meter, on_report: OnReport) -> None:
        self.problem, self.meter, self.on_report = problem, meter, on_report
        self.total = problem.definition.trial.reports
        self.reports: list[Report] = []
        self.seconds: list[float] = []
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the trial began, but for those in which it was stopped."""
        return time.monotonic() - self._began

    def state(self) -> State:
        """What `resume` goes on from."""
        reports = [report.to_dict() for report in self.reports]
        return {"reports": reports, "seconds": self.seconds, "elapsed": self.elapsed}

    def resume(self, state: State) -> None:
        """Goes on from the milestones of an earlier process."""
        self.reports += map(Report.of, state["reports"])
        self.seconds += state["seconds"]
        self._began = time.monotonic() - state["elapsed"]

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
        self.seconds.append(self.elapsed)
        self.on_report(report)
        if report.number > 0 and not math.isfinite(loss):
            raise Diverged(f"the training diverged: its loss is {loss}; a smaller learning rate may help")
        _check_finite(folded, self.problem)
