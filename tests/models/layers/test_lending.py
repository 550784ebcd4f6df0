import copy

import pytest
import torch
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.layers.copying import deep_copy
from branchfold.models.layers.lending import lent


def network():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    net[1].weight.requires_grad_(False)
    net[0].weight.data = net[0].weight.data.contiguous(memory_format=torch.channels_last)
    return net


def test_copies_are_what_deepcopy_gives():
    net = network()
    twin, wanted = deep_copy(net, lent(net)), copy.deepcopy(net)
    theirs_by_name = wanted.state_dict(keep_vars=True)
    assert theirs_by_name.keys() == twin.state_dict().keys()
    for name, mine in twin.state_dict(keep_vars=True).items():
        theirs = theirs_by_name[name]
        assert torch.equal(mine, theirs), name
        assert (type(mine), mine.requires_grad, mine.stride()) == (type(theirs), theirs.requires_grad, theirs.stride())


@pytest.mark.parametrize("given_is_written", [False, True])
def test_what_one_side_writes_the_other_never_sees(given_is_written):
    torch.manual_seed(0)  # with others every unit of a layer may be dead, and rest
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    twin = deep_copy(net, lent(net))
    written, kept = (net, twin) if given_is_written else (twin, net)
    optimizer = torch.optim.SGD([p for p in written.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(2):
        written(torch.randn(4, 3, 8, 9)).square().mean().backward()
        optimizer.step()
    written[3].bias.data.fill_(7)
    written[1].running_mean.numpy()[:] = 5
    written[1].weight.detach()[2:].zero_()
    assert all(torch.equal(value, before[name]) for name, value in kept.state_dict().items())
    assert not any(torch.equal(p, before[name]) for name, p in written.named_parameters())


def test_memory_that_others_know_is_not_lent():
    net = network()
    seen = net[0].weight.detach().numpy()
    net[3].weight.data = torch.zeros(40)[:12].view(2, 6, 1, 1)
    net[3].bias.data.share_memory_()
    net[1].weight.data = torch.from_numpy(net[1].weight.detach().numpy().copy())
    copies = lent(net)
    assert not {net[0].weight, net[3].weight, net[3].bias, net[1].weight} & copies.keys()
    assert {net[0].bias, net[1].bias, net[1].running_var} <= copies.keys()
    twin = deep_copy(net, copies)
    seen[:] = 2
    assert not (twin[0].weight == 2).any()
    with torch.no_grad():
        net[0].weight.add_(1)
    assert (seen == 3).all()


def test_training_a_branched_network_leaves_the_given_one_alone_and_the_other_way_round():
    net = network()
    x = torch.randn(4, 3, 8, 9)
    before = net(x).detach()
    statistics = net[1].running_mean.clone()
    branched = add_branches(net, x, keep=0.5, init="selection").train()
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.1)
    branched(x).square().mean().backward()
    optimizer.step()
    assert torch.equal(net[1].running_mean, statistics)
    assert torch.equal(net(x), before)
    small = fold(branched).eval()
    result = small(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3)
    assert torch.equal(small(x), result)


def test_without_torchs_copies_on_write_tensors_are_copied_at_once(monkeypatch):
    monkeypatch.setattr("branchfold.models.layers.lending._LEND", None)
    net = network()
    assert lent(net) == {}
    twin = deep_copy(net, lent(net))
    assert twin[0].weight.untyped_storage().data_ptr() != net[0].weight.untyped_storage().data_ptr()
