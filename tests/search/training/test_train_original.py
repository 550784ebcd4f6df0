"""Which of the original's weights train while branches lie beside them."""

import pytest
import torch

from branchfold.models import fold


class TestTrainOriginal:
    def test_false_keeps_the_originals_weights_until_the_fold(self, trained, make_branched, make_network):
        folded = []

        def fold_and_keep(branched, groups):
            folded.append(branched)
            return fold(branched, groups)

        module = trained(training={"train_original": False}, fold_with=fold_and_keep)
        start = dict(make_network().named_parameters())
        for state in module.originals[:5]:
            for name, parameter in start.items():
                assert torch.equal(state[name], parameter), name
        fresh = make_branched()
        (branched,) = folded
        for part in ("compress", "blend"):
            before, after = getattr(fresh, part).state_dict(), getattr(branched, part).state_dict()
            assert before
            assert all(not torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.requires_grad for parameter in module.network.parameters())

    def test_true_trains_them(self, trained, make_network):
        module = trained()
        start = dict(make_network().named_parameters())
        assert not any(torch.equal(module.originals[4][name], parameter) for name, parameter in start.items())

    def test_with_stages_a_layer_trains_as_soon_as_no_branch_lies_beside_it(self, trained, make_network):
        module = trained(groups=("0", "6"), stages={"count": 2}, fade=6 / 8, training={"train_original": False})
        # Group "0": writer 0, BatchNorm 1, reader 3. Group "6": writer 6, BatchNorm 7, reader 10. 4 is beside neither.
        free = {"4.weight", "4.bias"}
        first = {"0.weight", "1.weight", "1.bias", "3.weight"}
        assert module.trained[:3] == [free] * 3
        assert module.trained[3:6] == [free | first] * 3
        assert module.trained[6:] == [{*dict(make_network().named_parameters())}] * 2
        for name in first - {"0.weight", "3.weight", "1.weight", "1.bias"} | {"6.weight", "7.weight", "10.weight"}:
            assert torch.equal(module.originals[5][name], module.originals[0][name]), name
        for name in first:
            assert not torch.equal(module.originals[5][name], module.originals[3][name]), name

    @pytest.mark.parametrize("train_original", [True, False])
    def test_what_the_user_froze_stays_frozen(self, train_original, trained, make_branched, make_network):
        branched = make_branched(("0",))
        branched.network[10].weight.requires_grad_(False)
        module = trained(groups=("0",), branched=branched, training={"train_original": train_original})
        assert [name for name, p in module.network.named_parameters() if not p.requires_grad] == ["10.weight"]
        assert torch.equal(module.network[10].weight, make_network()[10].weight)
