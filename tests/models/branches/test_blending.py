"""What an example hears while the network trains: the blend by α, or a factor drawn for it."""

import copy

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.branches.modules import BLENDINGS, Mixing, for_examples

EXAMPLES = 4000


def branched_linear(keep=2):
    """Two groups of which an output can be told: what is heard of the first reader, and of the second."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    inputs = torch.randn(6, 3, dtype=torch.float64)
    return add_branches(network, inputs, keep={"0": keep, "2": keep}, init="kaiming").train(), inputs


def heard(branched, x, first, second):
    """The output in evaluation mode, the two groups at these α."""
    twin = copy.deepcopy(branched).eval()
    twin.set_alpha({"0": first, "2": second})
    with torch.no_grad():
        return twin(x)


class TestMixing:
    @pytest.mark.parametrize("mode", BLENDINGS)
    def test_evaluation_takes_alpha_itself(self, mode):
        mixing = Mixing().eval()
        mixing.mode = mode
        alphas = torch.tensor([0.25, 1.0])
        assert torch.equal(mixing(alphas, torch.zeros(3, 2)), alphas)

    def test_probability_draws_zeros_and_ones_with_frequency_alpha(self):
        mixing = Mixing().train()
        mixing.mode = "probability"
        alphas = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64)
        torch.manual_seed(1)
        factors = mixing(alphas, torch.zeros(EXAMPLES, 1))
        assert factors.shape == (4, EXAMPLES)
        assert {*factors.unique().tolist()} == {0.0, 1.0}
        # Six standard deviations of a mean of so many draws.
        assert factors.mean(1).tolist() == pytest.approx(alphas.tolist(), abs=6 * 0.5 / EXAMPLES**0.5)
        assert factors[0].max() == 0
        assert factors[3].min() == 1
        # Groups are drawn apart: both heard with the product of their frequencies.
        assert float((factors[1] * factors[2]).mean()) == pytest.approx(0.14, abs=6 * 0.35 / EXAMPLES**0.5)

    def test_uniform_draws_between_zero_and_alpha(self):
        mixing = Mixing().train()
        mixing.mode = "uniform"
        alphas = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
        torch.manual_seed(2)
        factors = mixing(alphas, torch.zeros(EXAMPLES, 1))
        assert factors[0].abs().max() == 0
        for alpha, drawn in zip(alphas[1:], factors[1:], strict=True):
            assert 0 <= drawn.min() < 0.01 * alpha
            assert 0.99 * alpha < drawn.max() < alpha
            assert drawn.mean().item() == pytest.approx(alpha.item() / 2, abs=6 * alpha.item() / (12 * EXAMPLES) ** 0.5)
        assert len(factors[1].unique()) > EXAMPLES / 2


class TestExamples:
    def test_factors_of_tensors_with_one_row_an_example(self):
        factors = for_examples(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, 4, 5))
        assert factors.shape == (3, 1, 1)
        assert factors.flatten().tolist() == [1, 2, 3]

    def test_pieces_of_an_example_have_its_factor(self):
        factors = for_examples(torch.tensor([1.0, 2.0]), torch.zeros(6, 4))
        assert factors.flatten().tolist() == [1, 1, 1, 2, 2, 2]

    def test_something_else_in_the_first_dimension_has_the_first_ones(self):
        for rows in (5, 1):
            assert for_examples(torch.tensor([1.0, 2.0]), torch.zeros(rows, 4)).flatten().tolist() == [1.0] * rows

    def test_windows_of_an_example_hear_the_same(self, functional):
        """Images cut into four windows along the batch, as Swin does: all four hear the original, or all the branch."""

        def forward(self, x):
            windows = x.unflatten(1, (4, 3)).flatten(0, 1)
            return self.fc2(torch.relu(self.fc1(windows))).unflatten(0, (-1, 4))

        torch.manual_seed(0)
        network = functional(forward, fc1=nn.Linear(3, 6), fc2=nn.Linear(6, 2)).double()
        x = torch.randn(32, 12, dtype=torch.float64)
        branched = add_branches(network, x, keep={"fc1": 2}, init="kaiming").train()
        branched.set_blending("probability")
        branched.set_alpha(0.5)
        torch.manual_seed(3)
        with torch.no_grad():
            found = branched(x)
            ends = []
            for alpha in (0.0, 1.0):
                branched.eval().set_alpha(alpha)
                ends.append(branched(x))
        branch, original = ((found - end).abs().amax((1, 2)) < 1e-12 for end in ends)
        assert (branch ^ original).all()
        assert 4 <= int(original.sum()) <= 28


class TestNetwork:
    def test_probability_each_example_hears_one_or_the_other_in_each_group(self):
        branched, _ = branched_linear()
        branched.set_blending("probability")
        branched.set_alpha({"0": 0.3, "2": 0.8})
        torch.manual_seed(4)
        x = torch.randn(EXAMPLES, 3, dtype=torch.float64)
        with torch.no_grad():
            found = branched(x)
        counts = {}
        for first in (0.0, 1.0):
            for second in (0.0, 1.0):
                same = (found - heard(branched, x, first, second)).abs().amax(1) < 1e-12
                counts[first, second] = float(same.double().mean())
        # ReLU lets some examples be the same either way: more than 1 in all, and at least the frequency each.
        expected = {(0.0, 0.0): 0.14, (0.0, 1.0): 0.56, (1.0, 0.0): 0.06, (1.0, 1.0): 0.24}
        for key, share in expected.items():
            assert counts[key] == pytest.approx(share, abs=6 * 0.5 / EXAMPLES**0.5)

    def test_uniform_lies_on_the_line_between_the_branch_and_alpha(self):
        branched, _ = branched_linear()
        branched.set_blending("uniform")
        branched.set_alpha({"0": 0.0, "2": 0.5})
        torch.manual_seed(5)
        x = torch.randn(500, 3, dtype=torch.float64)
        with torch.no_grad():
            found = branched(x)
        low, high = heard(branched, x, 0.0, 0.0), heard(branched, x, 0.0, 0.5)
        # The second group is read by the last layer alone: the output is linear in its factor.
        share = ((found - low) * (high - low)).sum(1) / (high - low).square().sum(1)
        torch.testing.assert_close(found, low + share[:, None] * (high - low))
        assert 0 <= share.min() < 0.05
        assert 0.95 < share.max() <= 1

    @pytest.mark.parametrize("mode", ["probability", "uniform"])
    def test_evaluation_is_convex(self, mode):
        branched, x = branched_linear()
        convex = copy.deepcopy(branched).eval()
        branched.set_blending(mode)
        branched.eval()
        for network in (branched, convex):
            network.set_alpha(0.37)
        assert torch.equal(branched(x), convex(x))

    @pytest.mark.parametrize("mode", ["probability", "uniform"])
    def test_at_zero_training_hears_the_branch_alone_and_at_one_probability_the_original(self, mode):
        branched, x = branched_linear()
        branched.set_blending(mode)
        branched.set_alpha(0.0)
        torch.testing.assert_close(branched(x), heard(branched, x, 0.0, 0.0))
        if mode == "probability":
            branched.set_alpha(1.0)
            torch.testing.assert_close(branched(x), heard(branched, x, 1.0, 1.0))

    def test_gradients_reach_only_what_is_heard(self):
        branched, x = branched_linear()
        branched.set_blending("probability")
        branched.set_alpha({"0": 1.0, "2": 0.0})
        branched(x).square().sum().backward()
        assert branched.compress["0"].weight.grad.abs().max() == 0
        assert branched.compress["2"].weight.grad.abs().max() > 0
        assert branched.network[4].weight.grad.abs().max() > 0

    def test_alpha_may_be_set_again_before_the_gradients_are_taken(self):
        branched, x = branched_linear()
        branched.set_alpha(0.6)
        branched(x).sum().backward()
        expected = {name: p.grad.clone() for name, p in branched.named_parameters()}
        branched.zero_grad()
        loss = branched(x).sum()
        branched.set_alpha(0.0)
        loss.backward()
        for name, parameter in branched.named_parameters():
            assert torch.equal(parameter.grad, expected[name]), name

    @pytest.mark.parametrize("mode", BLENDINGS)
    def test_every_kind_of_network_trains(self, example, mode):
        branched = add_branches(example.network, example.inputs, keep=0.5, init="kaiming").train()
        branched.set_blending(mode)
        branched.set_alpha(0.5)
        out = branched(example.inputs)
        assert out.shape == example.network(example.inputs).shape
        out.square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in branched.parameters() if p.grad is not None)


class TestState:
    @pytest.mark.parametrize("mode", BLENDINGS)
    def test_survives_copies_and_partial_folds(self, mode):
        branched, x = branched_linear()
        branched.set_blending(mode)
        branched.set_alpha({"0": 0.0, "2": 0.5})
        twin, rest = copy.deepcopy(branched), fold(branched, ["0"])
        assert (twin.mixing.mode, rest.mixing.mode) == (mode, mode)
        assert twin.training
        assert rest.mixing.training
        outputs = []
        for network in (branched, twin):
            torch.manual_seed(6)
            outputs.append(network(x))
        assert torch.equal(*outputs)
        if mode != "convex":  # drawn anew for every pass
            assert not torch.allclose(rest(x), rest(x))
        twin.set_blending("convex")
        assert branched.mixing.mode == mode

    def test_is_convex_to_begin_with(self):
        assert branched_linear()[0].mixing.mode == "convex"

    def test_unknown_modes_are_refused(self):
        branched, _ = branched_linear()
        with pytest.raises(NetworkError, match="blending must be one of convex, probability, uniform, but got 'mixup'"):
            branched.set_blending("mixup")
        assert branched.mixing.mode == "convex"

    def test_has_no_weights(self):
        branched, _ = branched_linear()
        assert not any("mixing" in name for name in branched.state_dict())
