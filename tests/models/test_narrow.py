"""A network's own class at given widths, for the exported state dict of a pruned one."""

import pytest
import torch

from branchfold.errors import NetworkError
from branchfold.models import NetworkDescription, add_branches, fold, narrow
from branchfold.models.networks.resnet import resnet20


def test_a_pruned_networks_state_dict_fits(tmp_path):
    example = torch.randn(2, 3, 32, 32)
    full = resnet20(width=0.25)
    branched = add_branches(full, example, keep=0.5, init="selection")
    small = fold(branched).eval()
    torch.save(small.state_dict(), tmp_path / "small.pt")
    description = NetworkDescription("resnet20", {"width": 0.25}, [3, 32, 32], branched.plan.widths)
    before = {name: value.clone() for name, value in full.state_dict().items()}
    for made in (narrow(full, branched.plan.widths, example), narrow(full, description)):
        assert type(made) is type(full)
        made.load_state_dict(torch.load(tmp_path / "small.pt", weights_only=True))
        assert torch.equal(made.eval()(example), small(example))
    assert all(torch.equal(value, before[name]) for name, value in full.state_dict().items())


def test_what_does_not_fit_is_told():
    full = resnet20(width=0.25)
    with pytest.raises(NetworkError, match="example_inputs are needed"):
        narrow(full, {"conv1": 2})
    with pytest.raises(NetworkError, match="conv1x"):
        narrow(full, {"conv1x": 2}, torch.zeros(1, 3, 32, 32))
