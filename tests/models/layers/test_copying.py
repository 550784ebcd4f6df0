import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.layers.copying import deep_copy


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def made():
    """Plain layers, ties, aliases, hooks, an attribute of the user's, an LSTM, a parametrisation."""
    torch.manual_seed(0)
    network = nn.Module()
    network.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    network.alias = network.body[0]
    network.first, network.tied = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
    network.tied.weight = network.first.weight
    network.first.bias.requires_grad_(False)
    network.body[2].notes = {"seen": [1, 2]}
    network.body[1].parents = [network.body]  # leads back up
    network.lstm = nn.LSTM(4, 4)
    network.scaled = parametrize.register_parametrization(nn.Linear(4, 4), "weight", Doubled())
    network.first.eval()
    return network


def test_a_copy_is_what_deepcopy_gives():
    network = made()
    mine, reference = deep_copy(network), copy.deepcopy(network)
    assert [*mine.state_dict()] == [*reference.state_dict()]
    for name, value in mine.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name])
    for copied, theirs in zip(mine.modules(), reference.modules(), strict=True):
        assert type(copied).__name__ == type(theirs).__name__
        assert copied.__dict__.keys() == theirs.__dict__.keys()
        assert copied.training == theirs.training
    assert [p.requires_grad for p in mine.parameters()] == [p.requires_grad for p in reference.parameters()]
    x = torch.randn(2, 3, 5, 4)
    assert torch.equal(mine.body(x), reference.body(x))
    assert torch.equal(mine.scaled(x), reference.scaled(x))
    assert torch.equal(mine.lstm(x[0])[0], reference.lstm(x[0])[0])


def test_a_copy_shares_nothing_with_its_original():
    network = made()
    mine = deep_copy(network)
    theirs = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    assert not any(tensor.data_ptr() in theirs for tensor in (*mine.parameters(), *mine.buffers()))
    assert not {*mine.modules()} & {*network.modules()}
    mine.body[2].notes["seen"].append(3)
    mine.body[0].register_forward_hook(lambda module, args, result: result)
    assert network.body[2].notes == {"seen": [1, 2]}
    assert not network.body[0]._forward_hooks


def test_ties_and_aliases_stay_within_the_copy():
    mine = deep_copy(made())
    assert mine.tied.weight is mine.first.weight
    assert mine.alias is mine.body[0]
    assert mine.body[1].parents[0] is mine.body


@pytest.mark.parametrize("path", ["body.0.weight", "first.weight"])
def test_tensors_may_be_the_originals_own(path):
    network = made()
    parameter = network.get_parameter(path)
    mine = deep_copy(network, {parameter: parameter})
    assert {name for name, p in mine.named_parameters() if p is network.get_parameter(name)} == {path}


def test_another_layer_stands_instead_wherever_the_copy_refers_to_it():
    network, other = made(), nn.Conv2d(3, 4, 1)
    mine = deep_copy(network, {network.body[0]: other})
    assert mine.body[0] is mine.alias is other
    assert mine.body(torch.ones(1, 3, 2, 2)).shape == (1, 4, 2, 2)


class Keeping(nn.Module):
    """Keeps what its layers gave, as a forward that is to be looked into does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.last, self.seen = None, {}

    def forward(self, x):
        self.last = self.seen["first"] = self.first(x)
        return self.second(self.last)


def test_what_a_forward_left_is_copied_without_its_history():
    network, x = Keeping(), torch.randn(2, 3, 5, 5)
    network(x)
    mine = deep_copy(network)
    assert torch.equal(mine.last, network.last)
    assert mine.last is mine.seen["first"]
    assert mine.last.grad_fn is None
    assert network.last.grad_fn is not None
    small = fold(add_branches(network, x, keep=0.5))
    small(x).sum().backward()
    assert small.last.shape[1] == 4


def test_what_cannot_be_copied_is_told():
    network = Keeping()
    network.last = (x for x in range(3))
    with pytest.raises(NetworkError, match="Keeping cannot be copied: cannot pickle 'generator' object"):
        add_branches(network, torch.randn(2, 3, 5, 5), keep=0.5)


def test_a_network_with_a_parametrized_tensor_of_its_own():
    network = Keeping()
    network.scale = nn.Parameter(torch.ones(4))
    parametrize.register_parametrization(network, "scale", Doubled())
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(add_branches(network, x, keep=0.5)(x), network(x))


def test_branches_can_be_trained_that_were_made_for_inference():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with torch.inference_mode():
        x = torch.randn(2, 3, 5, 5)
        branched = add_branches(network, x, keep=0.5)
        small = fold(branched)
    branched.set_alpha(0.5)
    for trained in (branched, small):
        trained.train()(torch.randn(2, 3, 5, 5)).sum().backward()
        assert all(p.grad is not None and not p.is_inference() for p in trained.parameters())


class Counted(nn.Module):
    """Copied as it says itself: without its cache."""

    def __init__(self):
        super().__init__()
        self.layer, self.cache = nn.Linear(3, 3), {"seen": 1}

    def __setstate__(self, state):
        super().__setstate__({**state, "cache": {}})


class Delegating(nn.Module):
    """Asks its part for what it has not itself, how it is copied too."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("part"), name)


def test_users_classes_are_copied_as_they_say():
    network = nn.Sequential(Counted(), Delegating(nn.Linear(3, 3)))
    mine, reference = deep_copy(network), copy.deepcopy(network)
    assert mine[0].cache == reference[0].cache == {}
    assert type(mine[1]) is type(reference[1])
    assert torch.equal(mine[1].weight, network[1].part.weight)


def test_a_module_that_says_itself_how_it_is_copied_is_asked():
    network = nn.Sequential(nn.Linear(3, 3))
    network[0].__deepcopy__ = lambda memo: nn.Identity()
    assert type(deep_copy(network)[0]) is type(copy.deepcopy(network)[0]) is nn.Identity


def test_what_users_modules_share_stays_shared_within_the_copy():
    class Holding(nn.Module):
        def __init__(self, cache):
            super().__init__()
            self.cache = cache

    cache = {}
    mine = deep_copy(nn.Sequential(Holding(cache), Holding(cache)))
    assert mine[0].cache is mine[1].cache
    assert mine[0].cache is not cache
