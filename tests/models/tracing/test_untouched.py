"""The given network is as it was after tracing, and what cannot be traced is told in one line."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold

X = torch.randn(4, 3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Remembering(nn.Module):
    """A forward that counts, caches, keeps what flows, and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.calls, self.cache, self.kept, self.last = 0, {}, [[]], None
        self.norm.eval()

    def forward(self, x):
        self.seen.add_(len(x) * 0 + 1)
        self.calls += 1
        if x.shape[2:] not in self.cache:
            self.cache[x.shape[2:]] = torch.ones(x.shape[3], dtype=x.dtype)
        y = self.norm(self.first(x * self.cache[x.shape[2:]])).relu_()
        self.last = y
        self.kept[0].append(y)
        random.random(), np.random.rand()
        return self.second(y + torch.rand(1, dtype=x.dtype) * 0)


def state_of(network):
    tensors = {name: (id(value), value.clone()) for name, value in network.state_dict(keep_vars=True).items()}
    attributes = [copy.deepcopy({k: v for k, v in vars(m).items() if k[0] != "_"}) for m in network.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    return tensors, attributes, hooks


def test_parameters_buffers_attributes_hooks_and_random_state_stay():
    network = Remembering().double()
    network.first.register_forward_hook(lambda module, args, result: None)
    before, python, of_numpy, of_torch = (
        state_of(network),
        random.getstate(),
        np.random.get_state()[1].copy(),
        torch.get_rng_state(),
    )
    channel_groups(network, X)
    tensors, attributes, hooks = state_of(network)
    assert all(i == tensors[n][0] and torch.equal(v, tensors[n][1]) for n, (i, v) in before[0].items())
    assert (attributes, hooks) == before[1:]
    assert random.getstate() == python
    assert (np.random.get_state()[1] == of_numpy).all()
    assert torch.equal(torch.get_rng_state(), of_torch)


def test_buffers_that_the_forward_writes_are_written_by_the_branches():
    network = nn.Sequential(Remembering(), nn.Flatten()).double()
    branched = add_branches(network, X, keep=0.5)
    assert "0.first" in branched.plan.widths
    branched.train()(X)
    branched(X)
    assert int(branched.network[0].seen) == 2
    assert int(network[0].seen) == 0
    small = fold(branched)
    small(X)
    assert int(small[0].seen) == 3


CHAIN = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).double()


def scripted():
    with pytest.warns(Warning, match="script"):
        return torch.jit.script(CHAIN)


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda: nn.DataParallel(CHAIN), "wrapped in DataParallel; give its attribute `.module`"),
        (lambda: AveragedModel(CHAIN), "wrapped in AveragedModel; give its attribute `.module`"),
        (lambda: torch.compile(CHAIN), "torch.compile wrapped; give its attribute `._orig_mod`"),
        (lambda: torch.export.export(CHAIN, (X,)), "exported program, whose layers are gone"),
        (scripted, "a ScriptModule, whose code cannot be followed"),
        (lambda: nn.Sequential(CHAIN, nn.LazyConv2d(4, 1)), "1 has no size yet .*; call the network once"),
    ],
)
def test_wrapped_networks_are_told_in_one_line(wrap, told):
    network = wrap()
    for call in (lambda: channel_groups(network, X), lambda: add_branches(network, X, keep=0.5)):
        with pytest.raises(NetworkError, match=told) as caught:
            call()
        assert "\n" not in str(caught.value)
