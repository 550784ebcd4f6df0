import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.branched import BranchedNetwork
from branchfold.models.cost import count_macs
from branchfold.search.schedules import SHAPES, make_schedule
from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.training.classifier import fit
from branchfold.search.training.compute import Meter
from branchfold.search.training.fading import OBSERVATIONS, BranchTraining

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


def network():
    """Three convolutions: groups "0", "3" and "6"."""
    torch.manual_seed(0)
    layers = []
    for before, width in ((1, 6), (6, 5), (5, 4)):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(80, 3))


def branched_network(groups=NAMES):
    first = Batches().first
    return add_branches(network(), first, keep=dict.fromkeys(groups, 0.5), data=[first]).train()


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


def recipe(shape="linear", fade=5 / 8, groups=NAMES, parameters=None, stages=None, training=None, **changes):
    return Recipe(
        shape=shape,
        parameters=make_schedule(shape, **(parameters or {})).parameters,
        fade=fade,
        widths={name: round(FULL[name] * 0.5) if name in groups else FULL[name] for name in NAMES},
        training=Training(**({"lr": 0.05, "weight_decay": 0.0} | (training or {}))),
        stages=Stages(**({"sequence": groups} | (stages or {}))),
        **changes,
    )


def trained(epochs=2, groups=NAMES, fold_with=fold, compute=None, options=None, clip=0.0, precision="float32", **rest):
    images = Batches()
    module = Recorded(
        branched_network(groups),
        recipe(groups=groups, **rest),
        fold=fold_with,
        meter=Meter.of(24, FULL_MACS, INPUT),
        total_steps=0 if compute else epochs * BATCHES_AN_EPOCH,
        compute=compute,
        **(options or {}),
    )
    fit(module, images, epochs=-1 if compute else epochs, callbacks=[], clip=clip, precision=precision)
    return module


def one(module):
    """α of the first group by step, None where it is folded."""
    return [alphas.get("0") for alphas in module.seen]


class TestAlpha:
    @pytest.mark.parametrize(
        ("shape", "fade", "parameters", "expected"),
        [
            ("linear", 5 / 8, {}, [1.0, 0.8, 0.6, 0.4, 0.2]),
            ("linear", 2 / 8, {}, [1.0, 0.5]),
            ("step", 7 / 8, {"steps": 2}, [0.5, 0.5, 0.5, 0.5]),  # 0 from t = 1/2 on: 4/7 is past it
            ("cosine", 4 / 8, {}, [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]),
            ("knee", 4 / 8, {"threshold": 0.2, "position": 0.5}, [1.0, 0.6, 0.2, 0.1]),
            ("multiplicative", 1.0, {"factor": 0.5, "steps": 4}, [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
            ("instant", 0.0, {}, []),
            ("linear", 1e-9, {}, [1.0]),
        ],
    )
    def test_follows_the_schedule_by_step_then_the_folded_network_trains(self, shape, fade, parameters, expected):
        module = trained(shape=shape, fade=fade, parameters=parameters)
        assert module.steps == list(range(8))
        assert one(module)[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert module.seen[len(expected) :] == [{}] * (8 - len(expected))
        assert all(len(set(alphas.values())) <= 1 for alphas in module.seen)

    def test_is_never_zero_in_a_branched_step(self):
        assert all(
            alpha is None or alpha > 0 for alpha in one(trained(shape="step", fade=7 / 8, parameters={"steps": 3}))
        )

    @pytest.mark.parametrize("shape", sorted(SHAPES))
    def test_the_trial_ends_folded_whatever_the_shape(self, shape):
        heard = []

        def after_step(module):
            heard.append((module.progress, module.alpha, isinstance(module.network, BranchedNetwork)))

        module = trained(
            epochs=1, shape=shape, fade=1.0, options={"after_step": after_step, "validation_loss": lambda n: 1.0}
        )
        assert len(module.seen) == len(heard) == 4
        assert heard[-1] == (1.0, 0.0, False)
        assert isinstance(module.network, nn.Sequential)
        assert [module.network[int(name)].out_channels for name in NAMES] == [3, 2, 2]

    def test_is_told_as_the_mean_over_groups_folded_ones_counting_as_zero(self):
        told = []
        trained(stages={"count": 3}, fade=6 / 8, options={"after_step": lambda module: told.append(module.alpha)})
        # Each stage's window is two steps: α is 1, then 1/2, while those before are folded and those after wait at 1.
        assert told == pytest.approx([1.0, 2.5 / 3, 2 / 3, 1.5 / 3, 1 / 3, 0.5 / 3, 0.0, 0.0], abs=1e-6)

    def test_plateau_falls_where_the_validation_loss_stopped_improving(self):
        losses = iter([3.0, 2.0, 2.5, 2.5, 1.0, 1.0, 1.0, 9.0] + [9.0] * 40)
        asked = []

        def validation_loss(network):
            asked.append(network.alpha["0"])
            return next(losses)

        module = trained(
            epochs=10,
            shape="plateau",
            parameters={"drop": 0.3, "patience": 1},
            fade=1.0,
            options={"validation_loss": validation_loss},
        )
        # 40 steps and 20 observations in the window: at every second step but the first. 3 and 2 improve, 2.5 falls,
        # the next 2.5 begins a new best, 1 improves it, 1 falls, 1 begins anew, 9 falls; then 9 begins, 9 falls: at 0.
        expected = [1.0] * 6 + [0.7] * 6 + [0.4] * 4 + [0.1] * 4
        assert OBSERVATIONS == 20
        assert one(module)[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert module.seen[len(expected) :] == [{}] * (40 - len(expected))
        assert asked == pytest.approx([expected[2 * i + 1] for i in range(10)], abs=1e-6)


class TestFold:
    def test_happens_once_and_training_goes_on_with_the_folded_network(self):
        folded = []

        def fold_once(branched, groups):
            assert branched.alphas.tolist() == [0.0] * 3
            assert {*groups} == {*NAMES}
            small = fold(branched, groups)
            folded.append((small, copy.deepcopy(small.state_dict())))
            return small

        module = trained(fold_with=fold_once)
        ((small, at_fold),) = folded
        assert module.network is small
        assert small[0].out_channels == 3
        for name, parameter in small.named_parameters():
            assert not torch.equal(parameter, at_fold[name]), name

    def test_stages_fold_as_they_end_at_their_steps(self):
        folds = []

        def noted(branched, groups):
            folds.append((module_steps(), tuple(groups), tuple(branched.plan.widths)))
            return fold(branched, groups)

        steps = []
        module_steps = lambda: len(steps)  # noqa: E731
        module = trained(
            fold_with=noted,
            stages={"count": 3, "sequence": ("6", "0", "3")},
            fade=6 / 8,
            options={"after_step": lambda module: steps.append(1)},
        )
        assert folds == [(2, ("6",), NAMES), (4, ("0",), ("0", "3")), (6, ("3",), ("3",))]
        full, half = pytest.approx(1.0, abs=1e-6), pytest.approx(0.5, abs=1e-6)
        assert module.seen == [
            {"0": full, "3": full, "6": full},
            {"0": full, "3": full, "6": half},
            {"0": full, "3": full},
            {"0": half, "3": full},
            {"3": full},
            {"3": half},
            {},
            {},
        ]

    def test_what_was_not_touched_keeps_its_momentum_and_the_rest_starts_without(self):
        module = trained(stages={"count": 3}, fade=6 / 8)
        before, after = module.momenta[1], module.momenta[2]  # group "0" was folded between them
        assert {*before} == {*module.originals[1]} - {
            name for name in module.originals[1] if "running" in name or "num" in name
        }
        # Layers 0 and 3 (writer and reader) and the BatchNorm 1 changed; 4, 6, 7 and 10 did not.
        assert {*after} == {f"{layer}.weight" for layer in (4, 6, 7, 10)} | {f"{layer}.bias" for layer in (4, 7, 10)}

    def test_momentum_of_an_untouched_layer_is_that_of_uninterrupted_training(self):
        """At a rate of almost 0 no weight moves: the last layer's momentum is the sum of its gradients at each step."""
        module = trained(groups=("0",), fade=4 / 8, training={"lr": 1e-12})
        buffer = module.trainer.optimizers[0].state[module.network[10].weight]["momentum_buffer"]
        branched = branched_network(("0",))
        expected = torch.zeros_like(buffer)
        for step in range(8):
            branched.set_alpha(max(0.0, 1 - step / 4))
            images, labels = Batches().batches[step % 4]
            branched.zero_grad()
            F.cross_entropy(branched(images), labels).backward()
            expected = 0.9 * expected + branched.network[10].weight.grad
        torch.testing.assert_close(buffer, expected, rtol=1e-3, atol=1e-5)

    def test_hold_folds_later_and_trains_the_branches_on_at_zero(self):
        module = trained(groups=("0",), fade=2 / 8, stages={"hold": 0.5})
        # α reaches 0 at step 2; half of the remaining six steps are trained on unfolded.
        assert one(module) == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0, None, None, None], abs=1e-6)

    def test_hold_of_one_folds_at_the_very_end(self):
        module = trained(groups=("0",), shape="instant", fade=0.0, stages={"hold": 1.0})
        assert one(module) == [0.0] * 8
        assert module.network[0].out_channels == 3

    def test_learning_rate_goes_on_along_its_cycle(self):
        assert trained().rates == pytest.approx([0.05 * course(i / 8) for i in range(8)])

    def test_folded_training_is_that_of_the_plain_network(self):
        """With α = 0 at once, all steps are those of SGD on the folded network."""
        plain = fold(branched_network())
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        for step in range(8):
            images, labels = Batches().batches[step % 4]
            optimizer.param_groups[0]["lr"] = 0.05 * course(step / 8)
            optimizer.zero_grad()
            F.cross_entropy(plain(images), labels).backward()
            optimizer.step()
        for name, value in trained(shape="instant", fade=0.0).network.state_dict().items():
            torch.testing.assert_close(value, plain.state_dict()[name])


def course(t):
    """OneCycleLR's two half cosines, written down from its documentation."""

    def between(first, last, share):
        return last + (first - last) / 2 * (1 + math.cos(math.pi * share))

    return between(1 / 25, 1, t / 0.3) if t < 0.3 else between(1, 1 / 25 / 1e4, (t - 0.3) / 0.7)


class TestRestarts:
    def test_the_rate_begins_anew_at_the_end_of_each_stage(self):
        module = trained(stages={"count": 2}, fade=6 / 8, training={"rates": "cosine", "restarts": "stages"})
        cosine = [(1 + math.cos(math.pi * i / 3)) / 2 for i in range(3)]
        assert module.rates == pytest.approx([0.05 * x for x in [*cosine, *cosine, 1.0, 0.5]])

    def test_alpha_restarts_at_every_fall_of_a_stepwise_shape(self):
        module = trained(
            shape="step", parameters={"steps": 2}, fade=4 / 8, training={"rates": "linear", "restarts": "alpha"}
        )
        assert module.rates == pytest.approx([0.05 * x for x in [1.0, 0.5, 1.0, 0.5, 1.0, 0.75, 0.5, 0.25]])


class TestTrainOriginal:
    def test_false_keeps_the_originals_weights_until_the_fold(self):
        folded = []

        def fold_and_keep(branched, groups):
            folded.append(branched)
            return fold(branched, groups)

        module = trained(training={"train_original": False}, fold_with=fold_and_keep)
        start = dict(network().named_parameters())
        for state in module.originals[:5]:
            for name, parameter in start.items():
                assert torch.equal(state[name], parameter), name
        fresh = branched_network()
        (branched,) = folded
        for part in ("compress", "blend"):
            before, after = getattr(fresh, part).state_dict(), getattr(branched, part).state_dict()
            assert before
            assert all(not torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.requires_grad for parameter in module.network.parameters())

    def test_true_trains_them(self):
        module = trained()
        start = dict(network().named_parameters())
        assert not any(torch.equal(module.originals[4][name], parameter) for name, parameter in start.items())

    def test_with_stages_a_layer_trains_as_soon_as_no_branch_lies_beside_it(self):
        module = trained(groups=("0", "6"), stages={"count": 2}, fade=6 / 8, training={"train_original": False})
        # Group "0": writer 0, BatchNorm 1, reader 3. Group "6": writer 6, BatchNorm 7, reader 10. 4 is beside neither.
        free = {"4.weight", "4.bias"}
        first = {"0.weight", "1.weight", "1.bias", "3.weight"}
        assert module.trained[:3] == [free] * 3
        assert module.trained[3:6] == [free | first] * 3
        assert module.trained[6:] == [{*dict(network().named_parameters())}] * 2
        for name in first - {"0.weight", "3.weight", "1.weight", "1.bias"} | {"6.weight", "7.weight", "10.weight"}:
            assert torch.equal(module.originals[5][name], module.originals[0][name]), name
        for name in first:
            assert not torch.equal(module.originals[5][name], module.originals[3][name]), name

    @pytest.mark.parametrize("train_original", [True, False])
    def test_what_the_user_froze_stays_frozen(self, train_original):
        branched = branched_network(("0",))
        branched.network[10].weight.requires_grad_(False)
        module = Recorded(
            branched,
            recipe(groups=("0",), training={"train_original": train_original}),
            fold=fold,
            meter=Meter.of(24, FULL_MACS, INPUT),
            total_steps=8,
        )
        fit(module, Batches(), epochs=2, callbacks=[])
        assert [name for name, p in module.network.named_parameters() if not p.requires_grad] == ["10.weight"]
        assert torch.equal(module.network[10].weight, network()[10].weight)


class TestLosses:
    def test_loss_at_zero_is_mixed_in_while_alpha_is_above_zero(self):
        """The first step's loss by hand: (1 − w) of the loss at α = 1 and w of that at α = 0, in training mode."""
        losses = []
        trained(
            fade=1.0,
            zero_loss=0.25,
            training={"lr": 1e-12},
            options={"after_step": lambda m: losses.append(m.take_loss())},
        )
        for step in range(4):
            images, labels = Batches().batches[step]
            at = {}
            for alpha in (1 - step / 8, 0.0):
                branched = branched_network()
                branched.set_alpha(alpha)
                at[alpha] = F.cross_entropy(branched(images), labels).item()
            assert len(set(at.values())) == 2
            assert losses[step] == pytest.approx(0.75 * at[1 - step / 8] + 0.25 * at[0.0], rel=1e-4)

    def test_alpha_is_as_it_was_after_the_loss_at_zero(self):
        assert one(trained(fade=1.0, zero_loss=0.5)) == pytest.approx([1 - i / 8 for i in range(8)], abs=1e-6)

    @pytest.mark.parametrize("zero_loss", [0.3, 1.0])
    def test_gradients_of_the_mixed_loss_are_those_of_both(self, zero_loss):
        module = trained(epochs=1, fade=1.0, zero_loss=zero_loss, fold_with=lambda branched, groups: branched)
        branched = branched_network()
        optimizer = torch.optim.SGD(branched.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        for step, (images, labels) in enumerate(Batches()):
            optimizer.param_groups[0]["lr"] = 0.05 * course(step / 4)
            optimizer.zero_grad()
            branched.set_alpha(1 - step / 4)
            ((1 - zero_loss) * F.cross_entropy(branched(images), labels)).backward()
            branched.set_alpha(0.0)
            (zero_loss * F.cross_entropy(branched(images), labels)).backward()
            optimizer.step()
        expected = dict(branched.named_parameters())
        for name, parameter in module.network.named_parameters():
            torch.testing.assert_close(parameter, expected[name], msg=name, rtol=1e-4, atol=1e-6)

    def test_distillation_hears_the_teacher_in_evaluation_mode_and_leaves_it_alone(self):
        teacher = network().train()
        before = copy.deepcopy(teacher.state_dict())
        losses = []
        trained(
            shape="instant",
            fade=0.0,
            training={"lr": 1e-12, "distillation": 0.4, "temperature": 3.0},
            options={"teacher": teacher, "after_step": lambda m: losses.append(m.take_loss())},
        )
        assert teacher.training
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
        images, labels = Batches().batches[0]
        logits = fold(branched_network())(images)
        target = (network().eval()(images) / 3).softmax(1)
        divergence = (target * (target.log() - (logits / 3).log_softmax(1))).sum(1).mean()
        expected = 0.6 * F.cross_entropy(logits, labels) + 0.4 * 9 * divergence
        assert losses[0] == pytest.approx(expected.item(), rel=1e-5)

    def test_clipping_bounds_the_gradient(self):
        lr = 1e-3
        module = trained(epochs=1, shape="instant", fade=0.0, clip=1e-3, training={"lr": lr, "rates": "linear"})
        start, end = module.originals[0], module.originals[1]
        moved = sum(float((end[n] - start[n]).square().sum()) for n, _ in module.network.named_parameters()) ** 0.5
        # The first Nesterov step is (1 + 0.9) times the gradient, of norm 1e-3.
        assert moved == pytest.approx(1.9 * lr * 1e-3, rel=1e-2)

    def test_bfloat16_trains_float32_weights(self):
        dtypes = set()
        single = trained(shape="linear", fade=0.5)
        handle = torch.nn.modules.module.register_module_forward_hook(
            lambda module, args, output: dtypes.add(output.dtype) if isinstance(module, nn.Conv2d) else None
        )
        try:
            mixed = trained(shape="linear", fade=0.5, precision="bfloat16")
        finally:
            handle.remove()
        assert torch.bfloat16 in dtypes
        for (name, value), other in zip(mixed.network.named_parameters(), single.network.parameters(), strict=True):
            assert value.dtype == torch.float32
            assert not torch.equal(value, other), name
            torch.testing.assert_close(value, other, rtol=0.2, atol=0.05, msg=name)


class TestBlending:
    @pytest.mark.parametrize("mode", ["convex", "probability", "uniform"])
    def test_holds_through_partial_folds(self, mode):
        module = trained(stages={"count": 3}, fade=6 / 8, blending=mode)
        assert module.modes == [mode] * 6 + [None] * 2
        assert isinstance(module.network, nn.Sequential)


class TestSpending:
    def spent(self, **rest):
        steps = []
        module = trained(options={"after_step": lambda m: steps.append(m.meter.spent)}, **rest)
        return module, [b - a for a, b in pairwise([0.0, *steps])]

    def test_of_every_step_is_three_forward_passes_of_the_network_as_it_was(self):
        """By hand: the original, the narrow twin, its 1×1 convolutions; then the folded network alone."""
        _, steps = self.spent(groups=("0",), fade=2 / 8)
        # C = 6, k = 3, 20 positions: P and E each 3 · 6 · 20.
        branched = FULL_MACS + 2 * 3 * 6 * 20
        folded = 20 * 9 * (1 * 3 + 3 * 5 + 5 * 4) + 240
        assert steps == pytest.approx([6 * macs / 24 / FULL_MACS for macs in [branched] * 2 + [folded] * 6])
        plain = network()
        assert count_macs(plain, (Batches().first,)) == FULL_MACS

    def test_counts_the_loss_at_zero_and_the_teacher(self):
        told = []
        trained(
            groups=("0",),
            fade=2 / 8,
            zero_loss=0.5,
            training={"distillation": 0.5},
            options={"teacher": network(), "after_step": lambda m: told.append(m.meter.spent)},
        )
        steps = [b - a for a, b in pairwise([0.0, *told])]
        branched = FULL_MACS + 2 * 3 * 6 * 20
        folded = 20 * 9 * (1 * 3 + 3 * 5 + 5 * 4) + 240
        expected = [2 * branched + FULL_MACS / 3] * 2 + [folded + FULL_MACS / 3] * 6
        assert steps == pytest.approx([6 * macs / 24 / FULL_MACS for macs in expected])

    @pytest.mark.parametrize("compute", [0.3, 1.0, 2.7])
    def test_a_budget_ends_the_trial_within_one_step(self, compute):
        module, steps = self.spent(compute=compute, fade=0.5)
        assert compute <= module.meter.spent < compute + steps[-1]
        assert len(steps) == len(module.seen)
        assert isinstance(module.network, nn.Sequential)
        # Progress is the share of the compute: α is 0 from half of the budget on.
        spent = [0.0, *torch.tensor(steps).cumsum(0).tolist()][:-1]
        expected = [1 - 2 * s / compute if s < compute / 2 else None for s in spent]
        assert one(module) == pytest.approx(expected, abs=1e-5)

    def test_a_recipe_that_narrows_early_gets_more_steps(self):
        slow, _ = self.spent(compute=3.0, fade=1.0)
        quick, _ = self.spent(compute=3.0, shape="instant", fade=0.0)
        assert len(quick.seen) > 2 * len(slow.seen)
