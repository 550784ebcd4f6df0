import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models.networks.factories import build_network, default_input_shape
from branchfold.models.networks.given import digest_of_module, give


def network(seed=0, **kinds):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, **kinds), nn.BatchNorm2d(4), nn.ReLU())


def test_copies_of_a_given_network_are_built_by_its_name():
    given = network()
    name = give(given.eval())
    with torch.no_grad():
        given[0].weight.zero_()
    built = build_network(name, {})
    assert all(torch.equal(x, y) for x, y in zip(built.parameters(), network().parameters(), strict=True))
    assert built.training
    assert build_network(name, {}) is not built
    assert default_input_shape(name, {}) is None


def test_structure_weights_and_buffers_count():
    moved = network()
    moved[1].running_mean += 1
    found = {digest_of_module(x) for x in (network(), network(1), network(stride=2), network(bias=False), moved)}
    assert len(found) == 5
    assert digest_of_module(network()) == digest_of_module(network().eval())


def test_what_is_wrong_is_one_line():
    with pytest.raises(NetworkError, match="'given:0' was given as an object by another process, or is another one"):
        build_network("given:0", {})
    with pytest.raises(NetworkError, match="takes no arguments, but got width"):
        build_network(give(network()), {"width": 2})
    with pytest.raises(NetworkError, match=r"must be a torch\.nn\.Module, but is type"):
        give(nn.Linear)
