"""Training a branched network with Lightning: α falls group by group, and what has reached 0 is folded."""

import math
import weakref
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from ...models.branches.folding.folding import fold as fold_groups
from ...models.branches.network import BranchedNetwork
from ...models.branches.optimizers import carry_optimizer_state
from ...models.cost import batch_size
from ...models.examples import arguments
from ...models.layers.copying import deep_copy
from ..schedules import Schedule
from ..space.recipe import Recipe
from ..tasks.task import Task
from .arithmetic import PLAIN, Arithmetic
from .checkpoint import Resumable, stacked, unstacked
from .compute import FORWARD_PASSES, Length
from .fitting import mean_of, sgd
from .losses import loss_of_recipe
from .rates import course, restart_points
from .states import State, fill, optimizer_state, restore_optimizer, tensors_of

# A schedule that observes the validation loss does so this often in its window.
OBSERVATIONS = 20

Fold = Callable[[BranchedNetwork, Collection[str]], nn.Module]


class BranchTraining(Resumable):
    """Trains a branched network by its recipe; everything follows the trial's progress from 0 to 1.

    The trial ends when its length is through, whatever the trainer's epochs.

    Args:
        branched: the network at the trial's start.
        recipe: of the trial.
        task: whose loss is minimised.
        fold: folds groups, and checks.
        length: of the trial, in steps or in compute.
        arithmetic: whose memory format the network's weights are in, before and after folds.
        teacher: the baseline, for distillation; it is copied. None where the batches have its outputs.
        validation_loss: of the network as it is, for schedules that observe it.
        after_step: called with this module after every step.
    """

    def __init__(
        self,
        branched: nn.Module,
        recipe: Recipe,
        task: Task,
        *,
        fold: Fold,
        length: Length,
        arithmetic: Arithmetic = PLAIN,
        teacher: nn.Module | None = None,
        validation_loss: Callable[[nn.Module], float] | None = None,
        after_step: Callable[["BranchTraining"], None] = lambda module: None,
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.task, self.length = arithmetic.arranged(branched), recipe, task, length
        self.fold: Fold = lambda network, groups: arithmetic.arranged(fold(network, groups))
        self._arranged = arithmetic.arranged
        self.validation_loss, self.after_step = validation_loss, after_step
        distils = recipe.training.distillation > 0
        # In a list: the baseline is no part of what trains.
        self._teacher = [arithmetic.arranged(deep_copy(teacher).eval())] if distils and teacher is not None else []
        self._windows = recipe.windows()
        self._schedules: dict[Any, Schedule] = {window: recipe.schedule() for window in self._windows.values()}
        restarts = restart_points(recipe.training.restarts, recipe.schedule(), self._schedules)
        self._rate = course(recipe.training.rates, restarts)
        self._macs: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        self._losses: list[Tensor] = []
        self._folds: list[list[str]] = []
        self._resumed: State | None = None
        self._trainable = {name for name, p in _original(branched).named_parameters() if p.requires_grad}
        if isinstance(branched, BranchedNetwork):
            branched.set_blending(recipe.blending)
        self._freeze()

    @property
    def progress(self) -> float:
        """The share of the trial that is done."""
        return self.length.progress

    @property
    def alpha(self) -> float:
        """The mean α of all narrowed groups; those that are folded count as 0."""
        if not isinstance(self.network, BranchedNetwork) or not self._windows:
            return 0.0
        return sum(self.network.alpha.values()) / len(self._windows)

    @property
    def alphas(self) -> tuple[float, ...]:
        """The mean α of each stage's groups, in the stages' order; those that are folded count as 0."""
        known = self.network.alpha if isinstance(self.network, BranchedNetwork) else {}
        means = (sum(known.get(name, 0.0) for name in stage) / len(stage) for stage in self.recipe.groups_of_stages())
        return tuple(means)

    @property
    def rate(self) -> float:
        """The learning rate of the step that is done or goes on."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def take_loss(self) -> float:
        """The mean training loss since this was last asked; NaN where there was no step."""
        mean = mean_of(self._losses)
        self._losses.clear()
        return mean

    def training_state(self) -> State:
        """Network, folds, optimizer, the way so far, and what schedules observed."""
        return {
            "folds": self._folds,
            "network": tensors_of(self.network),
            "optimizer": optimizer_state(self.trainer.optimizers[0], self.network),
            "spent": self.length.meter.spent,
            "taken": self.length.taken,
            "observed": [schedule.losses for schedule in self._schedules.values()],
            "losses": stacked(self._losses),
        }

    def resume(self, state: State) -> None:
        """Goes on from a state; the network is as it was at the trial's start, but for its values.

        Raises:
            NetworkError: if the state is another network's.
        """
        for groups in state["folds"]:
            assert isinstance(self.network, BranchedNetwork)
            self.network = self._arranged(fold_groups(self.network, groups))
            self._freeze()
        fill(self.network, state["network"])
        self._folds, self._resumed = state["folds"], state
        self.length.meter.spent, self.length.taken = state["spent"], state["taken"]
        for schedule, losses in zip(self._schedules.values(), state["observed"], strict=True):
            schedule.losses[:] = losses

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum; the learning rate is set before every step."""
        return sgd(self.network, self.recipe.training.lr, self.recipe.training.weight_decay)

    def on_train_start(self) -> None:
        for teacher in self._teacher:
            teacher.to(self.device)
        if self._resumed is None:
            self._advance()
            return
        restore_optimizer(self.trainer.optimizers[0], self.network, self._resumed["optimizer"])
        self._losses, self._resumed = unstacked(self._resumed["losses"], self.device), None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._advance()

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """The loss of the blend and, by the recipe's weight, that at α = 0; a batch's third part is what is taught."""
        inputs, targets = arguments(batch[0]), self.task.targets(*batch[:2])
        taught = batch[2] if len(batch) > 2 else None
        for teacher in self._teacher:
            with torch.no_grad():
                taught = teacher(*inputs)
        loss = self._loss(inputs, targets, taught)
        if self._hears_zero():
            loss = torch.lerp(loss, self._loss_at_zero(inputs, targets, taught), self.recipe.zero_loss)
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: tuple[Any, ...], batch_idx: int) -> None:
        passes = 2 if self._hears_zero() else 1
        macs = passes * self._macs_of(self.network) + sum(map(self._macs_of, self._teacher)) / FORWARD_PASSES
        self.length.step(macs, batch_size(arguments(batch[0])))
        if self.progress >= 1:
            self._finish()
            self.trainer.should_stop = True
        self.after_step(self)

    def _advance(self) -> None:
        """Sets α, folds what is due, and sets the learning rate, all for the current progress."""
        progress = self.progress
        if isinstance(self.network, BranchedNetwork):
            self._observe(progress)
            alphas = {name: self._alpha(name, progress) for name in self.network.plan.widths}
            self.network.set_alpha(alphas)
            due = [name for name, alpha in alphas.items() if alpha == 0 and progress >= self._fold_at(name)]
            if due:
                before = self.network
                self._fold(due)
                carry_optimizer_state(self.trainer.optimizers[0], before, self.network)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.recipe.training.lr * self._rate(progress)

    def _alpha(self, name: str, progress: float) -> float:
        window = self._windows[name]
        return self._schedules[window](window.progress(progress))

    def _fold_at(self, name: str) -> float:
        hold, end = self.recipe.stages.hold, self._windows[name].end
        # A schedule may reach 0 before its window ends: without a hold that is when it folds.
        return 0.0 if hold == 0 else end + hold * (1.0 - end)

    def _observe(self, progress: float) -> None:
        for window, schedule in self._schedules.items():
            t = window.progress(progress)
            if schedule.observes and 0 < t < 1 and math.floor(t * OBSERVATIONS) > len(schedule.losses):
                assert self.validation_loss is not None
                schedule.observe(self.validation_loss(self.network))

    def _finish(self) -> None:
        """Folds what is still branched at the trial's end, where every α is 0."""
        if isinstance(self.network, BranchedNetwork):
            self._fold(list(self.network.plan.widths))

    def _fold(self, groups: list[str]) -> None:
        assert isinstance(self.network, BranchedNetwork)
        self.network = self.fold(self.network, groups)
        self._folds.append(list(groups))
        self._freeze()

    def _freeze(self) -> None:
        """Unless the original trains, its layers rest as long as a branch lies beside them."""
        if self.recipe.training.train_original:
            return
        touched: set[str] = set()
        if isinstance(self.network, BranchedNetwork):
            plan = self.network.plan
            touched = {*plan.writers, *plan.readers, *plan.carriers}
        for path, layer in _original(self.network).named_modules():
            for name, parameter in layer.named_parameters(path, recurse=False):
                if name in self._trainable:
                    parameter.requires_grad_(path not in touched)

    def _hears_zero(self) -> bool:
        return (
            self.recipe.zero_loss > 0
            and isinstance(self.network, BranchedNetwork)
            and any(alpha > 0 for alpha in self.network.alpha.values())
        )

    def _loss(self, inputs: tuple[Any, ...], targets: Any, taught: Any | None) -> Tensor:
        return loss_of_recipe(self.network(*inputs), targets, taught, self.recipe.training, self.task)

    def _loss_at_zero(self, inputs: tuple[Any, ...], targets: Any, taught: Any | None) -> Tensor:
        assert isinstance(self.network, BranchedNetwork)
        alphas = self.network.alpha
        self.network.set_alpha(0.0)
        loss = self._loss(inputs, targets, taught)
        self.network.set_alpha(alphas)
        return loss

    def _macs_of(self, network: nn.Module) -> int:
        if network not in self._macs:
            self._macs[network] = self.length.meter.macs(network)
        return self._macs[network]


def _original(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, BranchedNetwork) else network
