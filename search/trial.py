"""One trial: branches are added and initialised, α falls, the network is folded, trained on, checked and measured."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..errors import NetworkError
from ..models.branched import BranchedNetwork
from ..models.branching import add_branches
from ..models.checkpoints import save_network
from ..models.folding import fold
from ..models.statistics import recompute_batch_norm
from ..studies.trials import Measurement
from .baseline import describe
from .events import Listener, TrialEpoch
from .measurement import accuracy_of, evaluating
from .space import Proposal
from .task import Task
from .training import BranchTraining, fit

# Folded and branched at α = 0 differ by rounding alone, in float64.
FOLDING_TOLERANCE = 1e-9


@dataclass
class TrialResult:
    """What a trial leaves: the network in evaluation mode, what was measured of it, and how it came to that.

    Attributes:
        network: folded, with its BatchNorm statistics recomputed.
        measurement: on the validation split.
        history: one entry an epoch: epoch, alpha, accuracy, folded_accuracy, loss.
        folding_error: largest relative difference between folded and branched at α = 0, in float64.
    """

    network: nn.Module
    measurement: Measurement
    history: list[dict[str, float]] = field(default_factory=list)
    folding_error: float = 0.0


def run_trial(
    trial: optuna.Trial, proposal: Proposal, baseline: nn.Module, task: Task, tell: Listener, *, seed: int
) -> TrialResult:
    """Runs one recipe; the value reported after every epoch is the validation accuracy at α = 0.

    Args:
        trial: reported to, and asked whether to stop early.
        proposal: the recipe.
        baseline: the trained network; it is not changed.
        task: the study's data and costs.
        tell: receives the progress.
        seed: of everything random in the trial.

    Raises:
        optuna.TrialPruned: if the pruner stops the trial, or its training diverged.
        NetworkError: if the branches cannot be fitted.
    """
    torch.manual_seed(seed)
    table = task.definition.trial
    example = torch.zeros(2, *task.data.input_shape)
    branched = add_branches(
        baseline,
        example,
        keep={group.name: proposal.widths[group.name] / group.width for group in task.costs.groups if group.prunable},
        init=proposal.method,
        data=task.calibration_batches,
    )
    batches = task.training_batches(table.batch_size, seed=seed)
    check = _FoldCheck(task.calibration_batches[0][0])
    reports = _Reports(trial, task, table.epochs, tell)
    reports.step(0, branched, 1.0, math.nan)
    total_steps = table.epochs * len(batches)
    module = BranchTraining(
        branched.train(),
        schedule=proposal.schedule(),
        fade_steps=min(round(proposal.fade * total_steps), total_steps - 1),
        fold=check,
        train_original=proposal.train_original,
        lr=proposal.lr,
        weight_decay=proposal.weight_decay,
        total_steps=total_steps,
    )
    fit(module, batches, epochs=table.epochs, callbacks=[reports])
    assert not isinstance(module.network, BranchedNetwork)
    network = delivered(module.network.cpu(), task)
    measurement = measure(network, proposal.widths, task)
    return TrialResult(network, measurement, reports.history, check.error)


def delivered(network: nn.Module, task: Task) -> nn.Module:
    """What a network would be if the trial ended now: folded, its BatchNorm statistics recomputed; a new module."""
    folded = fold(network) if isinstance(network, BranchedNetwork) else copy.deepcopy(network)
    device = next(folded.parameters()).device
    recompute_batch_norm(folded, [images.to(device) for images, _ in task.recalibration_batches])
    return folded.eval()


def measure(network: nn.Module, widths: dict[str, int], task: Task) -> Measurement:
    """Validation accuracy and cost of a folded network."""
    cost, full = task.costs.cost(widths), task.costs.full
    return Measurement(
        accuracy=accuracy_of(network, task.validation_batches()),
        macs=cost.macs,
        macs_share=cost.macs / full.macs,
        parameters=cost.parameters,
        parameters_share=cost.parameters / full.parameters,
    )


def save_result(result: TrialResult, proposal: Proposal, task: Task, number: int, folder: Path) -> Path:
    """Writes the trial's network with its description to a file in `folder`."""
    path = folder / f"{task.definition.study.name}-trial-{number}.safetensors"
    description = describe(task, proposal.widths, result.measurement.accuracy, {"trial": number})
    save_network(result.network, path, description)
    return path


class _FoldCheck:
    """Folds, and compares with the branched network at α = 0 on real images, in float64."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.error = images, 0.0

    def __call__(self, branched: BranchedNetwork) -> nn.Module:
        branched.set_alpha(0.0)
        device = next(branched.parameters()).device
        exact = copy.deepcopy(branched).double()
        images = self.images.to(device).double()
        with evaluating(exact), torch.no_grad():
            expected, actual = exact(images), fold(exact).eval()(images)
        error = float((expected - actual).abs().max() / expected.abs().max())
        if not math.isfinite(error):  # a diverged network, which the epoch's report will end
            return fold(branched)
        if error > FOLDING_TOLERANCE:
            raise NetworkError(
                f"the folded network differs from the branched one by {error:.1e} of its outputs, more than "
                f"{FOLDING_TOLERANCE}: a fault of branchfold's, please report it with the network"
            )
        self.error = error
        return fold(branched)


class _Reports(pl.Callback):
    """After every epoch: accuracy at α = 0 to Optuna's pruner, accuracy at the current α beside it."""

    def __init__(self, trial: optuna.Trial, task: Task, epochs: int, tell: Listener) -> None:
        self.trial, self.task, self.epochs, self.tell = trial, task, epochs, tell
        self.prunes = len(task.definition.study.objectives) == 1
        self.history: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, BranchTraining)
        self.step(trainer.current_epoch + 1, pl_module.network, pl_module.alpha, pl_module.mean_loss)
        if not math.isfinite(pl_module.mean_loss):
            self.trial.set_user_attr("note", "diverged")
            raise optuna.TrialPruned("diverged")

    def step(self, epoch: int, network: nn.Module, alpha: float, loss: float) -> None:
        """Reports the network as it is after an epoch; raises TrialPruned where the pruner says so."""
        validation = self.task.validation_batches()
        folded_accuracy = accuracy_of(delivered(network, self.task), validation)
        accuracy = accuracy_of(network, validation) if alpha > 0 else folded_accuracy
        entry = {"epoch": epoch, "alpha": alpha, "accuracy": accuracy, "folded_accuracy": folded_accuracy}
        self.history.append({**entry, "loss": loss} if math.isfinite(loss) else entry)
        self.trial.set_user_attr("history", self.history)
        self.tell(TrialEpoch(self.trial.number, epoch, self.epochs, alpha, accuracy, folded_accuracy))
        if self.prunes:
            self.trial.report(folded_accuracy, epoch)
            if epoch < self.epochs and self.trial.should_prune():
                raise optuna.TrialPruned
