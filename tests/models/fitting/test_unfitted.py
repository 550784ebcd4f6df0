import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold


def randomised(network):
    """BatchNorm statistics and affine parameters hide bugs at their defaults."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return network.double().eval()


@pytest.fixture
def chain():
    torch.manual_seed(0)
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 10, 3, padding=1),
            nn.BatchNorm2d(10),
            nn.ReLU(),
            nn.Conv2d(10, 8, (3, 2), stride=2, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 2)),
            nn.Flatten(),
            nn.Linear(16, 5),
        )
    )


EXAMPLE = torch.randn(4, 3, 9, 7, dtype=torch.float64)


class TestSelection:
    def test_takes_the_channels_of_the_largest_weights_out_of_the_network(self, chain):
        small = fold(add_branches(chain, EXAMPLE, keep={"0": 4, "3": 3}, init="selection"))
        first = chain[0].weight.abs().sum((1, 2, 3)).topk(4).indices
        second = chain[3].weight.abs().sum((1, 2, 3)).topk(3).indices
        assert torch.equal(small[0].weight, chain[0].weight[first])
        assert torch.equal(small[0].bias, chain[0].bias[first])
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(small[1], name), getattr(chain[1], name)[first])
        assert torch.equal(small[3].weight, chain[3].weight[second][:, first])
        places = (2 * second[:, None] + torch.arange(2)).flatten()
        assert torch.equal(small[7].weight, chain[7].weight[:, places])
        assert torch.equal(small[7].bias, chain[7].bias)

    def test_folds_exactly(self, chain):
        branched = add_branches(chain, EXAMPLE, keep=0.5, init="selection")
        assert torch.allclose(branched(EXAMPLE), chain(EXAMPLE), rtol=0, atol=1e-12)
        branched.set_alpha(0.0)
        assert torch.allclose(branched(EXAMPLE), fold(branched)(EXAMPLE), rtol=0, atol=1e-12)

    def test_may_choose_by_batch_norm_or_by_data(self, chain):
        scaled = chain[1].weight.abs().topk(4).indices
        small = fold(add_branches(chain, EXAMPLE, keep={"0": 4}, init="selection", channels="bn-scale"))
        assert torch.equal(small[0].weight, chain[0].weight[scaled])
        greedy = fold(add_branches(chain, EXAMPLE, keep={"0": 4}, init="selection", channels="greedy", data=EXAMPLE))
        rows = {tuple(row) for row in chain[0].weight.flatten(1).tolist()}
        assert {tuple(row) for row in greedy[0].weight.flatten(1).tolist()} < rows

    def test_an_unknown_initialisation_or_choice_is_refused(self, chain):
        with pytest.raises(NetworkError, match="init must be one of least-squares, selection, kaiming"):
            add_branches(chain, EXAMPLE, keep=0.5, init="select")
        with pytest.raises(NetworkError, match="channels must be one of greedy, l1, bn-scale, random"):
            add_branches(chain, EXAMPLE, keep=0.5, channels="largest")
