"""Heads that are heard in training only: GoogLeNet, and one that needs larger images than evaluation."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.cost import CostModel


@pytest.fixture(scope="module")
def googlenet(randomise):
    from torchvision.models import googlenet as build

    torch.manual_seed(0)
    # The constructor warns of its slow initialisation even where it is told to do none.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = build(weights=None, init_weights=False, num_classes=5)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x = torch.randn(3, 3, 40, 57, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return randomise(network), x


@pytest.fixture(scope="module")
def branched(googlenet, randomise_branches):
    network, x = googlenet
    return randomise_branches(add_branches(network, x, keep=0.4, init="kaiming"))


def test_the_heads_have_groups_of_their_own_and_outputs_stay(googlenet):
    network, x = googlenet
    groups = {group.name: group for group in channel_groups(network, x)}
    assert all(groups[name].prunable for name in ("aux1.conv.conv", "aux1.fc1", "aux2.conv.conv", "aux2.fc1"))
    assert {name for name, group in groups.items() if not group.prunable} == {"aux1.fc2", "aux2.fc2", "fc"}
    assert {groups[name].reason for name in ("aux1.fc2", "aux2.fc2", "fc")} == {"it is the network's output"}
    # Read by the head and by the main path.
    assert "aux1.conv.conv" in groups["inception4a.branch1.conv"].readers
    assert "inception4b.branch1.conv" in groups["inception4a.branch1.conv"].readers


def test_at_alpha_one_it_is_the_original(googlenet, branched):
    network, x = googlenet
    branched.set_alpha(1.0)
    with torch.no_grad():
        assert torch.equal(branched.eval()(x), network.eval()(x))
        mine, theirs = copy.deepcopy(branched).train()(x), copy.deepcopy(network).train()(x)
    assert type(mine) is type(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert_equal(a, b)


def test_the_fold_is_exact_in_both_modes(googlenet, branched):
    network, x = googlenet
    branched.eval().set_alpha(0.0)
    small = fold(branched)
    assert type(small) is type(network)
    assert list(small.state_dict()) == list(network.state_dict())
    with torch.no_grad():
        assert_equal(small(x), branched(x))
        trained = copy.deepcopy(branched).train()
        for mine, theirs in zip(small.train()(x), trained(x), strict=True):
            assert_equal(mine, theirs)
        # Statistics have moved alike, and the mode can change back.
        assert_equal(small.eval()(x), trained.eval()(x))


def test_stages_fold_with_their_heads(googlenet, branched):
    _, x = googlenet
    branched.eval().set_alpha(0.3)
    names = list(branched.alpha)
    first = [name for name in names if name.startswith(("aux1", "inception4a", "inception3"))]
    rest = fold(branched, groups=first)
    assert set(rest.alpha) == set(names) - set(first)
    small, once = fold(rest).state_dict(), fold(branched).state_dict()
    for key, value in once.items():
        assert_equal(small[key].double(), value.double())
    reference = copy.deepcopy(branched)
    reference.set_alpha(dict.fromkeys(first, 0.0))
    with torch.no_grad():
        assert_equal(rest(x), reference(x))
        for mine, theirs in zip(rest.train()(x), reference.train()(x), strict=True):
            assert_equal(mine, theirs)


def test_least_squares_fits_the_heads_too(googlenet):
    network, x = googlenet
    branched = add_branches(network, x, keep=0.9)
    with torch.no_grad():
        assert torch.equal(branched(x), network.eval()(x))
        branched.set_alpha(0.0)
        small = fold(branched)
        assert_equal(small(x), branched(x))
        for mine, theirs in zip(small.train()(x), branched.train()(x), strict=True):
            assert_equal(mine, theirs)


def test_the_heads_cost_parameters_but_no_macs(googlenet, branched):
    network, x = googlenet
    model = CostModel(network, x)
    for net, widths in ((network, {}), (fold(branched), branched.plan.widths)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net.eval()(x)
        assert model.cost(widths).macs == counter.get_total_flops() // 2 // len(x)
        assert model.cost(widths).parameters == sum(p.numel() for p in net.parameters())
    thinner = model.cost({"aux1.fc1": 512, "aux2.conv.conv": 3})
    assert thinner.macs == model.full.macs
    # fc1 and fc2 by hand; the convolution before the other head's fc1, its BatchNorm, and the 4×4 places it reads.
    fewer = 512 * (128 * 16 + 1) + 512 * 5 + 125 * (528 + 2) + 125 * 16 * 1024
    assert model.full.parameters - thinner.parameters == fewer


class Deep(nn.Module):
    """An auxiliary head that takes larger images than the network itself, as Inception's."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.aux, self.aux_norm, self.aux_fc = nn.Conv2d(8, 6, 5), nn.BatchNorm2d(6), nn.Linear(6, 2)
        self.body, self.fc = nn.Conv2d(8, 7, 1), nn.Linear(7, 2)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        aux = self.aux_fc(F.relu(self.aux_norm(self.aux(x))).mean((2, 3))) if self.training else None
        x = self.fc(F.relu(self.body(x)).mean((2, 3)))
        return x if aux is None else (x, aux)


def test_a_head_whose_training_needs_larger_images_than_given(randomise, randomise_branches):
    network, small, large = randomise(Deep()), normal(2, 3, 7, 9), normal(2, 3, 21, 19)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert [group.name for group in channel_groups(network, small) if group.prunable] == ["stem", "aux", "body"]
    branched = add_branches(network, small, keep=0.5, data=large)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert_equal(branched(small), network(small))
    randomise_branches(branched).set_alpha(0)
    folded = fold(branched)
    assert_equal(folded(small), branched(small))
    for mine, theirs in zip(folded.train()(large), branched.train()(large), strict=True):
        assert_equal(mine, theirs)
    assert_equal(folded.eval()(large), branched.eval()(large))
