"""What a network may be called with: one tensor, several, dicts of them, arguments by name."""

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.cost import CostModel


class TwoSided(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3), nn.Conv2d(1, 6, 3)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, image, mask=None, *, depth=None, scale=1.0):
        y = torch.relu(self.left(image)) * scale
        return {"out": self.last(y if mask is None else y + self.right(mask))}


class Frames(nn.Module):
    def __init__(self):
        super().__init__()
        self.rgb, self.flow, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(2, 4, 3), nn.Conv2d(10, 2, 1)

    def forward(self, batch):
        y = torch.cat([self.rgb(batch["rgb"]), self.flow(batch["motion"][0])], 1)
        return self.last(torch.relu(y))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("init", ["least-squares", "selection"])
def test_arguments_by_name(randomise, init):
    network = randomise(TwoSided())
    given = {"mask": normal(3, 1, 7, 9, seed=1), "image": normal(3, 3, 7, 9)}
    branched = add_branches(network, given, keep=0.5, init=init, data=[given, (given["image"], given["mask"], 7)])
    assert list(branched.alpha) == ["left"]
    torch.testing.assert_close(branched(**given)["out"], network(**given)["out"], rtol=1e-12, atol=1e-12)
    branched.set_alpha(0)
    wanted = branched(given["image"], mask=given["mask"])["out"]
    torch.testing.assert_close(fold(branched)(**given)["out"], wanted, rtol=1e-9, atol=1e-9)
    costs = CostModel(network, given)
    assert costs.full == CostModel(network, (given["image"], given["mask"])).full


def test_a_dict_as_an_argument(randomise):
    network = randomise(Frames())
    given = {"rgb": normal(3, 3, 7, 9), "motion": [normal(3, 2, 7, 9, seed=1)], "name": "a film"}
    branched = add_branches(network, (given,), keep=0.5)
    assert list(branched.alpha) == ["rgb", "flow"]
    assert len(branched.example[0]["rgb"]) == 2
    branched.set_alpha(0)
    stage = fold(branched, groups=["rgb"])
    torch.testing.assert_close(fold(branched)(given), branched(given), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stage(given), branched(given), rtol=1e-9, atol=1e-9)
    branched.set_blending("probability")
    branched.set_alpha(0.5)
    assert branched.train()(given).shape == (3, 2, 5, 7)


REFUSED = {
    "unknown": ({"picture": normal(2, 3, 7, 9)}, "has no argument 'picture'; it has image, mask, depth, scale"),
    "missing": ({"mask": normal(2, 1, 7, 9)}, "lack the argument 'image'"),
    "no tensor": ((3, "x"), "with a tensor among them, but got"),
    "not a batch": ({"image": normal(3)}, "need a batch dimension"),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_inputs_that_do_not_fit_are_refused(kind):
    inputs, reason = REFUSED[kind]
    with pytest.raises(NetworkError, match=reason):
        channel_groups(TwoSided().double(), inputs)
