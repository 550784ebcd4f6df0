"""What the steps of a trial cost, and trials that a budget of compute ends."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from branchfold.models.cost import count_macs


@pytest.fixture
def spent(trained):
    """A trained trial, and what each of its steps cost."""

    def run(**rest):
        steps = []
        module = trained(options={"after_step": lambda m: steps.append(m.length.meter.spent)}, **rest)
        return module, [b - a for a, b in pairwise([0.0, *steps])]

    return run


class TestSpending:
    def test_of_every_step_is_three_forward_passes_of_the_network_as_it_was(
        self, spent, make_network, batches, full_macs
    ):
        """By hand: the original, the narrow twin, its 1×1 convolutions; then the folded network alone."""
        _, steps = spent(groups=("0",), fade=2 / 8)
        # C = 6, k = 3, 20 positions: P and E each 3 · 6 · 20.
        branched = full_macs + 2 * 3 * 6 * 20
        folded = 20 * 9 * (1 * 3 + 3 * 5 + 5 * 4) + 240
        assert steps == pytest.approx([6 * macs / 24 / full_macs for macs in [branched] * 2 + [folded] * 6])
        plain = make_network()
        assert count_macs(plain, (batches.first,)) == full_macs

    def test_counts_the_loss_at_zero_and_the_teacher(self, trained, make_network, full_macs):
        told = []
        trained(
            groups=("0",),
            fade=2 / 8,
            zero_loss=0.5,
            training={"distillation": 0.5},
            options={"teacher": make_network(), "after_step": lambda m: told.append(m.length.meter.spent)},
        )
        steps = [b - a for a, b in pairwise([0.0, *told])]
        branched = full_macs + 2 * 3 * 6 * 20
        folded = 20 * 9 * (1 * 3 + 3 * 5 + 5 * 4) + 240
        expected = [2 * branched + full_macs / 3] * 2 + [folded + full_macs / 3] * 6
        assert steps == pytest.approx([6 * macs / 24 / full_macs for macs in expected])

    @pytest.mark.parametrize("compute", [0.3, 1.0, 2.7])
    def test_a_budget_ends_the_trial_within_one_step(self, compute, spent):
        module, steps = spent(compute=compute, fade=0.5)
        assert compute <= module.length.meter.spent < compute + steps[-1]
        assert len(steps) == len(module.seen)
        assert isinstance(module.network, nn.Sequential)
        # Progress is the share of the compute: α is 0 from half of the budget on.
        spent = [0.0, *torch.tensor(steps).cumsum(0).tolist()][:-1]
        expected = [1 - 2 * s / compute if s < compute / 2 else None for s in spent]
        assert module.first_alphas == pytest.approx(expected, abs=1e-5)

    def test_a_recipe_that_narrows_early_gets_more_steps(self, spent):
        slow, _ = spent(compute=3.0, fade=1.0)
        quick, _ = spent(compute=3.0, shape="instant", fade=0.0)
        assert len(quick.seen) > 2 * len(slow.seen)
