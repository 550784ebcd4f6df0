"""α, blending and learning rates while a trial fades."""

import math

import pytest
from torch import nn

from branchfold.models.branches.network import BranchedNetwork
from branchfold.search.schedules import SHAPES
from branchfold.search.training.fading import OBSERVATIONS

NAMES = ("0", "3", "6")


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
    def test_follows_the_schedule_by_step_then_the_folded_network_trains(
        self, shape, fade, parameters, expected, trained
    ):
        module = trained(shape=shape, fade=fade, parameters=parameters)
        assert module.steps == list(range(8))
        assert module.first_alphas[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert module.seen[len(expected) :] == [{}] * (8 - len(expected))
        assert all(len(set(alphas.values())) <= 1 for alphas in module.seen)

    def test_is_never_zero_in_a_branched_step(self, trained):
        assert all(
            alpha is None or alpha > 0
            for alpha in trained(shape="step", fade=7 / 8, parameters={"steps": 3}).first_alphas
        )

    @pytest.mark.parametrize("shape", sorted(SHAPES))
    def test_the_trial_ends_folded_whatever_the_shape(self, shape, trained):
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

    def test_is_told_as_the_mean_over_groups_folded_ones_counting_as_zero(self, trained):
        told = []
        trained(stages={"count": 3}, fade=6 / 8, options={"after_step": lambda module: told.append(module.alpha)})
        # Each stage's window is two steps: α is 1, then 1/2, while those before are folded and those after wait at 1.
        assert told == pytest.approx([1.0, 2.5 / 3, 2 / 3, 1.5 / 3, 1 / 3, 0.5 / 3, 0.0, 0.0], abs=1e-6)

    def test_plateau_falls_where_the_validation_loss_stopped_improving(self, trained):
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
        assert module.first_alphas[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert module.seen[len(expected) :] == [{}] * (40 - len(expected))
        assert asked == pytest.approx([expected[2 * i + 1] for i in range(10)], abs=1e-6)


class TestRestarts:
    def test_the_rate_begins_anew_at_the_end_of_each_stage(self, trained):
        module = trained(stages={"count": 2}, fade=6 / 8, training={"rates": "cosine", "restarts": "stages"})
        cosine = [(1 + math.cos(math.pi * i / 3)) / 2 for i in range(3)]
        assert module.rates == pytest.approx([0.05 * x for x in [*cosine, *cosine, 1.0, 0.5]])

    def test_alpha_restarts_at_every_fall_of_a_stepwise_shape(self, trained):
        module = trained(
            shape="step", parameters={"steps": 2}, fade=4 / 8, training={"rates": "linear", "restarts": "alpha"}
        )
        assert module.rates == pytest.approx([0.05 * x for x in [1.0, 0.5, 1.0, 0.5, 1.0, 0.75, 0.5, 0.25]])


class TestBlending:
    @pytest.mark.parametrize("mode", ["convex", "probability", "uniform"])
    def test_holds_through_partial_folds(self, mode, trained):
        module = trained(stages={"count": 3}, fade=6 / 8, blending=mode)
        assert module.modes == [mode] * 6 + [None] * 2
        assert isinstance(module.network, nn.Sequential)
