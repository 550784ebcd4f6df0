"""Training with Lightning: a whole network under one cycle of the learning rate."""

import logging
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ...models.examples import arguments
from ..process.signals import deferring
from ..tasks.task import Task
from .arithmetic import PLAIN, Arithmetic
from .checkpoint import Checkpoint, Checkpointing, Resumable, stacked, unstacked
from .device import accelerator
from .passes import Passes
from .states import State, fill, optimizer_state, restore_optimizer, tensors_of

MOMENTUM = 0.9
_WARM_UP = 0.3  # share of the steps until the peak learning rate: torch's default for OneCycleLR


class BaselineTraining(Resumable):
    """Trains `network` with SGD under one cycle of the learning rate.

    Args:
        network: to be trained.
        task: whose loss is minimised.
        lr: peak learning rate.
        weight_decay: of the optimizer.
        total_steps: length of the cycle.
        label_smoothing: the share of each label that is spread over all classes.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        *,
        lr: float,
        weight_decay: float,
        total_steps: int,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.task, self.label_smoothing = network, task, label_smoothing
        self.lr, self.weight_decay, self.total_steps = lr, weight_decay, total_steps
        self._losses: list[Tensor] = []
        self._resumed: State | None = None

    def training_state(self) -> State:
        """Network, optimizer, place in the cycle, and the epoch's losses so far."""
        (config,) = self.trainer.lr_scheduler_configs
        return {
            "network": tensors_of(self.network),
            "optimizer": optimizer_state(self.trainer.optimizers[0], self.network),
            "step": config.scheduler.last_epoch,
            "losses": stacked(self._losses),
        }

    def resume(self, state: State) -> None:
        """Goes on from a state.

        Raises:
            NetworkError: if the state is another network's.
        """
        fill(self.network, state["network"])
        self._resumed = state

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        outputs, targets = self.network(*arguments(batch[0])), self.task.targets(*batch)
        loss = self.task.loss(outputs, targets, label_smoothing=self.label_smoothing)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_start(self) -> None:
        self._losses.clear()
        if self._resumed is None:
            return
        (config,) = self.trainer.lr_scheduler_configs
        config.scheduler.last_epoch = self._resumed["step"]  # which its rate follows from
        restore_optimizer(self.trainer.optimizers[0], self.network, self._resumed["optimizer"])
        self._losses, self._resumed = unstacked(self._resumed["losses"], self.device), None

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch so far; NaN before its first step."""
        return mean_of(self._losses)

    def configure_optimizers(self) -> Any:
        """SGD with Nesterov momentum; the learning rate follows its cycle step by step."""
        optimizer = sgd(self.network, self.lr, self.weight_decay)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=max(2, self.total_steps), pct_start=_WARM_UP, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def sgd(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum over the parameters that train."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


def mean_of(losses: list[Tensor]) -> float:
    """The mean of scalars; NaN of none."""
    return float(torch.stack(losses).mean()) if losses else math.nan


def fit(
    module: pl.LightningModule,
    batches: Iterable[Any],
    *,
    epochs: int,
    callbacks: list[pl.Callback],
    clip: float = 0.0,
    arithmetic: Arithmetic = PLAIN,
    device: str = "auto",
    checkpoint: Checkpoint | None = None,
    more: Callable[[], State] = dict,
) -> None:
    """Trains, quietly: no logger, no checkpoints, no bar of Lightning's own.

    Args:
        module: what to train.
        batches: of the train split.
        epochs: passes over the batches; -1 for as many as it takes until the module stops its trainer.
        callbacks: of Lightning.
        clip: largest norm of the gradient, 0 for none.
        arithmetic: the precision; whoever makes the module arranges its weights.
        device: where, by its name in `[trial] device`.
        checkpoint: where the module's state is saved as it trains; `batches` are `Passes` then.
        more: what else belongs to the state.

    Raises:
        Interrupted: if asked to stop; with a checkpoint, between two steps.
    """
    if checkpoint is not None:
        assert isinstance(batches, Passes)
        assert isinstance(module, Resumable)
        with deferring() as asked:
            saving = Checkpointing(checkpoint, module, batches, asked, more)
            _train(module, batches, epochs, [*callbacks, saving], clip, arithmetic, device)
    else:
        _train(module, batches, epochs, callbacks, clip, arithmetic, device)


def _train(
    module: pl.LightningModule,
    batches: Iterable[Any],
    epochs: int,
    callbacks: list[pl.Callback],
    clip: float,
    arithmetic: Arithmetic,
    device: str,
) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    kind, devices = accelerator(device)
    with warnings.catch_warnings():
        # The data is in memory: workers would only copy it.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        warnings.filterwarnings("ignore", ".*GPU available but not used.*")
        trainer = pl.Trainer(
            accelerator=kind,
            devices=devices,
            max_epochs=epochs,
            callbacks=callbacks,
            gradient_clip_val=clip or None,
            precision="bf16-mixed" if arithmetic.precision == "bfloat16" else "32-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, train_dataloaders=batches)
