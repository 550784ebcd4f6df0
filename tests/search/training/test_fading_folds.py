"""Folds in the midst of training: when, and what goes on unharmed."""

import copy

import pytest
import torch
import torch.nn.functional as F

from branchfold.models import fold

NAMES = ("0", "3", "6")


class TestFold:
    def test_happens_once_and_training_goes_on_with_the_folded_network(self, trained):
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

    def test_stages_fold_as_they_end_at_their_steps(self, trained):
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

    def test_what_was_not_touched_keeps_its_momentum_and_the_rest_starts_without(self, trained):
        module = trained(stages={"count": 3}, fade=6 / 8)
        before, after = module.momenta[1], module.momenta[2]  # group "0" was folded between them
        assert {*before} == {*module.originals[1]} - {
            name for name in module.originals[1] if "running" in name or "num" in name
        }
        # Layers 0 and 3 (writer and reader) and the BatchNorm 1 changed; 4, 6, 7 and 10 did not.
        assert {*after} == {f"{layer}.weight" for layer in (4, 6, 7, 10)} | {f"{layer}.bias" for layer in (4, 7, 10)}

    def test_momentum_of_an_untouched_layer_is_that_of_uninterrupted_training(self, trained, make_branched, batches):
        """At a rate of almost 0 no weight moves: the last layer's momentum is the sum of its gradients at each step."""
        module = trained(groups=("0",), fade=4 / 8, training={"lr": 1e-12})
        buffer = module.trainer.optimizers[0].state[module.network[10].weight]["momentum_buffer"]
        branched = make_branched(("0",))
        expected = torch.zeros_like(buffer)
        for step in range(8):
            branched.set_alpha(max(0.0, 1 - step / 4))
            images, labels = batches.batches[step % 4]
            branched.zero_grad()
            F.cross_entropy(branched(images), labels).backward()
            expected = 0.9 * expected + branched.network[10].weight.grad
        torch.testing.assert_close(buffer, expected, rtol=1e-3, atol=1e-5)

    def test_hold_folds_later_and_trains_the_branches_on_at_zero(self, trained):
        module = trained(groups=("0",), fade=2 / 8, stages={"hold": 0.5})
        # α reaches 0 at step 2; half of the remaining six steps are trained on unfolded.
        assert module.first_alphas == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0, None, None, None], abs=1e-6)

    def test_hold_of_one_folds_at_the_very_end(self, trained):
        module = trained(groups=("0",), shape="instant", fade=0.0, stages={"hold": 1.0})
        assert module.first_alphas == [0.0] * 8
        assert module.network[0].out_channels == 3

    def test_learning_rate_goes_on_along_its_cycle(self, trained, one_cycle):
        assert trained().rates == pytest.approx([0.05 * one_cycle(i / 8) for i in range(8)])

    def test_folded_training_is_that_of_the_plain_network(self, trained, make_branched, batches, one_cycle):
        """With α = 0 at once, all steps are those of SGD on the folded network."""
        plain = fold(make_branched())
        optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        for step in range(8):
            images, labels = batches.batches[step % 4]
            optimizer.param_groups[0]["lr"] = 0.05 * one_cycle(step / 8)
            optimizer.zero_grad()
            F.cross_entropy(plain(images), labels).backward()
            optimizer.step()
        for name, value in trained(shape="instant", fade=0.0).network.state_dict().items():
            torch.testing.assert_close(value, plain.state_dict()[name])
