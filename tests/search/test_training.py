import copy
import math

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.branched import BranchedNetwork
from branchfold.search.schedules import make_schedule
from branchfold.search.training import BranchTraining, Classifier, fit

BATCHES_AN_EPOCH = 4


class Batches:
    """Four batches of 6 images (1, 5, 4) in three classes, always the same."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.batches = [
            (torch.randn(6, 1, 5, 4, generator=draw), torch.randint(0, 3, (6,), generator=draw))
            for _ in range(BATCHES_AN_EPOCH)
        ]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)

    @property
    def first(self):
        return self.batches[0][0]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 20, 3)
    )


class Recorded(BranchTraining):
    """Notes before each step: α as the network holds it, None when it is folded; the rate; the original's weights."""

    def training_step(self, batch, batch_idx):
        if not hasattr(self, "seen"):
            self.seen, self.rates, self.originals, self.steps = [], [], [], []
        branched = isinstance(self.network, BranchedNetwork)
        self.seen.append(float(self.network.alphas[0]) if branched else None)
        self.steps.append(self.global_step)
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.originals.append(copy.deepcopy(self.network.network.state_dict()) if branched else None)
        return super().training_step(batch, batch_idx)


def trained(shape="linear", fade_steps=5, epochs=2, train_original=True, fold_with=fold, **parameters):
    images = Batches()
    branched = add_branches(network(), images.first, keep=0.5, data=[images.first]).train()
    module = Recorded(
        branched,
        schedule=make_schedule(shape, **parameters),
        fade_steps=fade_steps,
        fold=fold_with,
        train_original=train_original,
        lr=0.05,
        weight_decay=0.0,
        total_steps=epochs * BATCHES_AN_EPOCH,
    )
    fit(module, images, epochs=epochs, callbacks=[])
    return module


class TestAlpha:
    @pytest.mark.parametrize(
        ("shape", "fade_steps", "parameters", "expected"),
        [
            ("linear", 5, {}, [1.0, 0.8, 0.6, 0.4, 0.2]),
            ("linear", 2, {}, [1.0, 0.5]),
            ("step", 7, {"steps": 2}, [0.5, 0.5, 0.5, 0.5]),  # 0 from t = 1/2 on: 4/7 is past it
            ("cosine", 4, {}, [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]),
            ("knee", 4, {"threshold": 0.2, "position": 0.5}, [1.0, 0.6, 0.2, 0.1]),
            ("instant", 0, {}, []),
            ("linear", 0, {}, []),
        ],
    )
    def test_follows_the_schedule_by_step_then_the_folded_network_trains(self, shape, fade_steps, parameters, expected):
        module = trained(shape, fade_steps, **parameters)
        assert module.steps == list(range(8))
        assert module.seen[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert module.seen[len(expected) :] == [None] * (8 - len(expected))

    def test_is_never_zero_in_a_branched_step(self):
        assert all(alpha is None or alpha > 0 for alpha in trained("step", 7, steps=3).seen)


class TestFold:
    def test_happens_once_and_training_goes_on_with_the_folded_network(self):
        folded = []

        def fold_once(branched):
            assert branched.alphas.tolist() == [0.0]
            small = fold(branched)
            folded.append((small, copy.deepcopy(small.state_dict())))
            return small

        module = trained(fold_with=fold_once)
        ((small, at_fold),) = folded
        assert module.network is small
        assert small[0].out_channels == 3
        for name, parameter in small.named_parameters():
            assert not torch.equal(parameter, at_fold[name]), name

    def test_optimizer_holds_the_folded_parameters_and_forgets_the_momentum(self):
        held = []

        class Look(pl.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                if not isinstance(pl_module.network, BranchedNetwork) and not held:
                    held.append(dict(trainer.optimizers[0].state))

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                (group,) = trainer.optimizers[0].param_groups
                assert {*map(id, group["params"])} == {*map(id, pl_module.network.parameters())}

        images = Batches()
        module = BranchTraining(
            add_branches(network(), images.first, keep=0.5).train(),
            schedule=make_schedule("linear"),
            fade_steps=3,
            fold=fold,
            train_original=True,
            lr=0.05,
            weight_decay=0.0,
            total_steps=8,
        )
        fit(module, images, epochs=2, callbacks=[Look()])
        # Callbacks' hooks run before the module's own: the first look at a folded network is a step after the fold.
        assert len(held) == 1
        assert {*map(id, held[0])} <= {*map(id, module.network.parameters())}

    def test_learning_rate_goes_on_along_its_cycle(self):
        module = trained()
        reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
        cycle = torch.optim.lr_scheduler.OneCycleLR(reference, 0.05, total_steps=8, pct_start=0.3, cycle_momentum=False)
        expected = []
        for _ in range(8):
            expected.append(reference.param_groups[0]["lr"])
            reference.step()
            if len(expected) < 8:
                cycle.step()
        assert module.rates == pytest.approx(expected)

    def test_folded_training_is_that_of_the_plain_network(self):
        """With α = 0 at once, all steps are those of SGD on the folded network."""
        images = Batches()
        branched = add_branches(network(), images.first, keep=0.5, data=[images.first]).train()
        plain = fold(branched)
        module = Classifier(plain, lr=0.05, weight_decay=0.0, total_steps=8)
        fit(module, images, epochs=2, callbacks=[])
        for name, value in trained("instant", 0).network.state_dict().items():
            torch.testing.assert_close(value, plain.state_dict()[name])


class TestTrainOriginal:
    def test_false_keeps_the_originals_weights_until_the_fold(self):
        folded = []

        def fold_and_keep(branched):
            folded.append(branched)
            return fold(branched)

        module = trained(train_original=False, fold_with=fold_and_keep)
        start = dict(network().named_parameters())
        for state in module.originals[:5]:
            for name, parameter in start.items():
                assert torch.equal(state[name], parameter), name
        fresh = add_branches(network(), Batches().first, keep=0.5, data=[Batches().first]).train()
        (branched,) = folded
        for part in ("compress", "blend"):
            before, after = getattr(fresh, part).state_dict(), getattr(branched, part).state_dict()
            assert all(not torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.requires_grad for parameter in module.network.parameters())

    def test_true_trains_them(self):
        module = trained(train_original=True)
        start = dict(network().named_parameters())
        assert not any(torch.equal(module.originals[4][name], parameter) for name, parameter in start.items())


def test_mean_loss_is_that_of_the_epochs_batches():
    images = Batches()
    plain = network().train()
    module = Classifier(plain, lr=1e-9, weight_decay=0.0, total_steps=4)
    assert math.isnan(module.mean_loss)
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(copy.deepcopy(plain)(x), y) for x, y in images]
    fit(module, images, epochs=1, callbacks=[])
    assert module.mean_loss == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)
