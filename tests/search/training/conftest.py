"""A network of three convolutions that fades and folds in seconds, with all its steps noted."""

import copy
import math

import pytest
import torch
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.branches.network import BranchedNetwork
from branchfold.search.schedules import make_schedule
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.tasks.classification import Classification
from branchfold.search.training.arithmetic import Arithmetic
from branchfold.search.training.compute import Length, Meter
from branchfold.search.training.fading import BranchTraining
from branchfold.search.training.fitting import fit

BATCHES_AN_EPOCH = 4
NAMES = ("0", "3", "6")
FULL = {"0": 6, "3": 5, "6": 4}
INPUT = (1, 5, 4)
# One epoch of the baseline: 24 examples of 20 positions, 1→6, 6→5 and 5→4 channels with 3×3 kernels, then 80→3.
FULL_MACS = 20 * 9 * (1 * 6 + 6 * 5 + 5 * 4) + 80 * 3


class Batches:
    """Four batches of 6 images (1, 5, 4) in three classes, always the same."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.batches = [
            (torch.randn(6, *INPUT, generator=draw), torch.randint(0, 3, (6,), generator=draw))
            for _ in range(BATCHES_AN_EPOCH)
        ]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)

    @property
    def first(self):
        return self.batches[0][0]


def _network():
    """Three convolutions: groups "0", "3" and "6"."""
    torch.manual_seed(0)
    layers = []
    for before, width in ((1, 6), (6, 5), (5, 4)):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(80, 3))


def _branched_network(groups=NAMES):
    first = Batches().first
    return add_branches(_network(), first, keep=dict.fromkeys(groups, 0.5), data=[first]).train()


class Recorded(BranchTraining):
    """Notes before each step: α, the rate, the original's weights, the parameters that train."""

    def training_step(self, batch, batch_idx):
        if not hasattr(self, "seen"):
            self.seen, self.rates, self.originals, self.steps, self.modes = [], [], [], [], []
            self.trained, self.momenta = [], []
        branched = isinstance(self.network, BranchedNetwork)
        self.seen.append(self.network.alpha if branched else {})
        self.modes.append(self.network.mixing.mode if branched else None)
        self.steps.append(self.global_step)
        optimizer = self.trainer.optimizers[0]
        self.rates.append(optimizer.param_groups[0]["lr"])
        original = self.network.network if branched else self.network
        self.originals.append(copy.deepcopy(original.state_dict()))
        self.trained.append({name for name, p in original.named_parameters() if p.requires_grad})
        held = {id(p) for p in optimizer.param_groups[0]["params"]}
        assert held == {id(p) for p in self.network.parameters() if p.requires_grad}
        self.momenta.append({n: optimizer.state[p] for n, p in original.named_parameters() if p in optimizer.state})
        return super().training_step(batch, batch_idx)

    @property
    def first_alphas(self):
        """α of the first group by step, None where it is folded."""
        return [alphas.get("0") for alphas in self.seen]


def _recipe(shape="linear", fade=5 / 8, groups=NAMES, parameters=None, stages=None, training=None, **changes):
    return Recipe(
        shape=shape,
        parameters=make_schedule(shape, **(parameters or {})).parameters,
        fade=fade,
        widths={name: round(FULL[name] * 0.5) if name in groups else FULL[name] for name in NAMES},
        training=Training(**({"lr": 0.05, "weight_decay": 0.0} | (training or {}))),
        stages=Stages(**({"sequence": groups} | (stages or {}))),
        **changes,
    )


def _trained(
    epochs=2,
    groups=NAMES,
    fold_with=fold,
    compute=None,
    options=None,
    clip=0.0,
    precision="float32",
    branched=None,
    **rest,
):
    """A trial of the little network; its recipe's changes in `rest`."""
    module = Recorded(
        _branched_network(groups) if branched is None else branched,
        _recipe(groups=groups, **rest),
        Classification(),
        fold=fold_with,
        length=Length(
            Meter.of(24, FULL_MACS, (torch.zeros(2, *INPUT),)), 0 if compute else epochs * BATCHES_AN_EPOCH, compute
        ),
        **(options or {}),
    )
    fit(module, Batches(), epochs=-1 if compute else epochs, callbacks=[], clip=clip, arithmetic=Arithmetic(precision))
    return module


@pytest.fixture
def batches():
    return Batches()


@pytest.fixture(scope="session")
def full_macs():
    """What one example costs the network without branches."""
    return FULL_MACS


@pytest.fixture(scope="session")
def make_network():
    """Builds the three convolutions, always with the same weights."""
    return _network


@pytest.fixture(scope="session")
def make_branched():
    """The same with branches of half the width in the given groups."""
    return _branched_network


@pytest.fixture(scope="session")
def trained():
    """Trains a trial of the branched network; the module, with what it noted before each step."""
    return _trained


@pytest.fixture(scope="session")
def one_cycle():
    """OneCycleLR's two half cosines, written down from its documentation: the share of the peak at progress t."""

    def between(first, last, share):
        return last + (first - last) / 2 * (1 + math.cos(math.pi * share))

    return lambda t: between(1 / 25, 1, t / 0.3) if t < 0.3 else between(1, 1 / 25 / 1e4, (t - 0.3) / 0.7)
