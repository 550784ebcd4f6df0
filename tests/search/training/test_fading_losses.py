"""What a fading network is trained for: losses mixed, distilled, clipped, in bfloat16."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import fold


class TestLosses:
    def test_loss_at_zero_is_mixed_in_while_alpha_is_above_zero(self, trained, make_branched, batches):
        """The first step's loss by hand: (1 − w) of the loss at α = 1 and w of that at α = 0, in training mode."""
        losses = []
        trained(
            fade=1.0,
            zero_loss=0.25,
            training={"lr": 1e-12},
            options={"after_step": lambda m: losses.append(m.take_loss())},
        )
        for step in range(4):
            images, labels = batches.batches[step]
            at = {}
            for alpha in (1 - step / 8, 0.0):
                branched = make_branched()
                branched.set_alpha(alpha)
                at[alpha] = F.cross_entropy(branched(images), labels).item()
            assert len(set(at.values())) == 2
            assert losses[step] == pytest.approx(0.75 * at[1 - step / 8] + 0.25 * at[0.0], rel=1e-4)

    def test_alpha_is_as_it_was_after_the_loss_at_zero(self, trained):
        assert trained(fade=1.0, zero_loss=0.5).first_alphas == pytest.approx([1 - i / 8 for i in range(8)], abs=1e-6)

    @pytest.mark.parametrize("zero_loss", [0.3, 1.0])
    def test_gradients_of_the_mixed_loss_are_those_of_both(self, zero_loss, trained, make_branched, batches, one_cycle):
        module = trained(epochs=1, fade=1.0, zero_loss=zero_loss, fold_with=lambda branched, groups: branched)
        branched = make_branched()
        optimizer = torch.optim.SGD(branched.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        for step, (images, labels) in enumerate(batches):
            optimizer.param_groups[0]["lr"] = 0.05 * one_cycle(step / 4)
            optimizer.zero_grad()
            branched.set_alpha(1 - step / 4)
            ((1 - zero_loss) * F.cross_entropy(branched(images), labels)).backward()
            branched.set_alpha(0.0)
            (zero_loss * F.cross_entropy(branched(images), labels)).backward()
            optimizer.step()
        expected = dict(branched.named_parameters())
        for name, parameter in module.network.named_parameters():
            torch.testing.assert_close(parameter, expected[name], msg=name, rtol=1e-4, atol=1e-6)

    def test_distillation_hears_the_teacher_in_evaluation_mode_and_leaves_it_alone(
        self, trained, make_branched, make_network, batches
    ):
        teacher = make_network().train()
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
        images, labels = batches.batches[0]
        logits = fold(make_branched())(images)
        target = (make_network().eval()(images) / 3).softmax(1)
        divergence = (target * (target.log() - (logits / 3).log_softmax(1))).sum(1).mean()
        expected = 0.6 * F.cross_entropy(logits, labels) + 0.4 * 9 * divergence
        assert losses[0] == pytest.approx(expected.item(), rel=1e-5)

    def test_clipping_bounds_the_gradient(self, trained):
        lr = 1e-3
        module = trained(epochs=1, shape="instant", fade=0.0, clip=1e-3, training={"lr": lr, "rates": "linear"})
        start, end = module.originals[0], module.originals[1]
        moved = sum(float((end[n] - start[n]).square().sum()) for n, _ in module.network.named_parameters()) ** 0.5
        # The first Nesterov step is (1 + 0.9) times the gradient, of norm 1e-3.
        assert moved == pytest.approx(1.9 * lr * 1e-3, rel=1e-2)

    def test_bfloat16_trains_float32_weights(self, trained):
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
