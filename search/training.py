"""Training with Lightning: a classifier, and a branched network whose α falls until it is folded."""

import logging
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.branched import BranchedNetwork
from ..models.optimizers import carry_optimizer_state

_MOMENTUM = 0.9
_WARM_UP = 0.3  # share of the steps until the peak learning rate: torch's default for OneCycleLR


class Classifier(pl.LightningModule):
    """Trains `network` with SGD under one cycle of the learning rate.

    Args:
        network: from images (N, C, H, W) to logits (N, classes).
        lr: peak learning rate.
        weight_decay: of the optimizer.
        total_steps: length of the cycle.
    """

    def __init__(self, network: nn.Module, *, lr: float, weight_decay: float, total_steps: int) -> None:
        super().__init__()
        self.network = network
        self.lr, self.weight_decay, self.total_steps = lr, weight_decay, total_steps
        self._losses: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_start(self) -> None:
        self._losses.clear()

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the epoch so far; NaN before its first step."""
        return float(torch.stack(self._losses).mean()) if self._losses else math.nan

    def configure_optimizers(self) -> Any:
        """SGD with Nesterov momentum; the learning rate follows its cycle step by step."""
        optimizer = torch.optim.SGD(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=self.lr,
            momentum=_MOMENTUM,
            nesterov=True,
            weight_decay=self.weight_decay,
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=max(2, self.total_steps), pct_start=_WARM_UP, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class BranchTraining(Classifier):
    """Trains a branched network: α follows its schedule step by step; at α = 0 the network is folded and trains on.

    Args:
        branched: the network at the trial's start.
        schedule: from progress t ≥ 0 to α.
        fade_steps: steps after which t is 1; 0 folds before the first step.
        fold: folds and checks; called once.
        train_original: whether the original's weights train while α > 0.
    """

    def __init__(
        self,
        branched: BranchedNetwork,
        *,
        schedule: Callable[[float], float],
        fade_steps: int,
        fold: Callable[[BranchedNetwork], nn.Module],
        train_original: bool,
        lr: float,
        weight_decay: float,
        total_steps: int,
    ) -> None:
        super().__init__(branched, lr=lr, weight_decay=weight_decay, total_steps=total_steps)
        self.schedule, self.fade_steps, self.fold = schedule, fade_steps, fold
        self.alpha = 1.0
        self._frozen: list[nn.Parameter] = []
        if not train_original:
            self._frozen = [p for p in branched.network.parameters() if p.requires_grad]
            for parameter in self._frozen:
                parameter.requires_grad_(False)

    def on_train_start(self) -> None:
        self._set_alpha()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._set_alpha()

    def _set_alpha(self) -> None:
        if not isinstance(self.network, BranchedNetwork):
            return
        t = self.global_step / self.fade_steps if self.fade_steps else 1.0
        self.alpha = self.schedule(t)
        self.network.set_alpha(self.alpha)
        if self.alpha == 0:
            self._fold()

    def _fold(self) -> None:
        assert isinstance(self.network, BranchedNetwork)
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        branched, self.network = self.network, self.fold(self.network)
        carry_optimizer_state(self.trainer.optimizers[0], branched, self.network)


def fit(module: Classifier, batches: Iterable[Any], *, epochs: int, callbacks: list[pl.Callback]) -> None:
    """Trains for a number of epochs, quietly: no logger, no checkpoints, no bar of Lightning's own."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The data is in memory: workers would only copy it.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")
        warnings.filterwarnings("ignore", ".*GPU available but not used.*")
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, train_dataloaders=batches)
