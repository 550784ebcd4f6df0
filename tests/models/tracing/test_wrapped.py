"""Networks with compiled, wrapped or hooked parts, and forwards that take arguments by name alone."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.cost import CostModel

X = normal(2, 3, 8, 9)


class Net(nn.Module):
    def __init__(self, change=lambda layer: layer):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = change(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 6, 3)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.first(x)))))


class Compiled(Net):
    forward = torch.compile(Net.forward, backend="eager")


def compiled_in_place():
    network = Net()
    network.compile(backend="eager")
    network.second.compile(backend="eager")
    return network


PARTS = {
    "compiled part": lambda: Net(lambda layer: torch.compile(layer, backend="eager")),
    "parallel part": lambda: Net(nn.DataParallel),
    "compiled forward": Compiled,
    "compiled in place": compiled_in_place,
}


@pytest.mark.parametrize("kind", PARTS)
def test_compiled_and_wrapped_parts_are_followed(kind):
    network = PARTS[kind]().double().eval()
    assert [group.prunable for group in channel_groups(network, X)] == [True, True, False]
    branched = add_branches(network, X, keep=0.5)
    with torch.compiler.set_stance("force_eager"):
        assert_equal(branched(X), network(X))
        branched.set_alpha(0)
        assert_equal(fold(branched)(X), branched(X))


def scripted(x):
    return torch.sigmoid(x) * x


def test_what_cannot_be_followed_is_told_in_one_line(functional):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it says that it is deprecated
        act = torch.jit.script(scripted)
    layers = {"first": nn.Conv2d(3, 8, 1), "last": nn.Conv2d(8, 2, 1)}
    network = functional(lambda net, x: net.last(act(net.first(x))), **layers)
    with pytest.raises(NetworkError, match=r"a function of TorchScript.*leave out @torch.jit.script") as caught:
        channel_groups(network.double(), X)
    assert __file__ in str(caught.value)
    exported = torch.export.export(Net().double(), (X,))
    with pytest.raises(NetworkError, match="exported program's module"):
        channel_groups(exported.module(), X)
    with pytest.raises(NetworkError, match="exported program, whose"):
        channel_groups(exported, X)


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.other = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x, *, y, scale=1.0):
        return self.last(F.relu(self.first(x) + self.other(y)) * scale)


def test_arguments_by_name_alone():
    network = ByName().double().eval()
    inputs = {"y": normal(2, 3, 8, 9, seed=1), "x": X}
    branched = add_branches(network, inputs, keep=0.5, data=[inputs])
    assert_equal(branched(**inputs), network(**inputs))
    branched.set_alpha(0)
    small = fold(branched)
    assert_equal(small(**inputs), branched(**inputs))
    assert CostModel(network, inputs).full.macs == (2 * 8 * 3 * 9 + 2 * 8) * 6 * 7


def hooked(hook, *, before=False):
    network = Net().double().eval()
    (network.second.register_forward_pre_hook if before else network.second.register_forward_hook)(hook)
    return network


def test_layers_with_hooks_that_observe_are_narrowed():
    seen = []

    def observe(module, given, result):
        seen.append(result.shape[1])
        return

    network = hooked(observe)
    assert [group.prunable for group in channel_groups(network, X)] == [True, True, False]
    small = fold(add_branches(network, X, keep=0.5))
    seen.clear()
    small(X)
    assert seen == [3]
    assert list(network.second._forward_hooks.values()) == [observe]


def in_place(module, given, result):
    result.mul_(2)


CHANGING = {
    "result": (lambda module, given, result: result * 2, False),
    "in place": (in_place, False),
    "given": (lambda module, given: (given[0] * 2,), True),
    "values": (lambda module, given, result: float(result.detach().sum()) and None, False),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_layers_whose_hooks_change_something_stay_whole(kind):
    hook, before = CHANGING[kind]
    network = hooked(hook, before=before)
    first, second, _ = channel_groups(network, X)
    assert first.reason == second.reason
    assert first.reason.startswith("second has a forward hook that changes what it is given or yields;")
    branched = add_branches(network, X, keep=0.5)
    assert_equal(fold(branched)(X), network(X))
