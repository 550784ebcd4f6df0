import pytest
import torch

from branchfold.errors import DataError
from branchfold.search.data.augmentations import AUGMENTATIONS, names_of
from branchfold.search.data.batches import Batches, Split


def images(count=50, channels=3, height=12, width=16):
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_keeps_shape_and_type_and_follows_from_the_generator_alone(name, channels):
    given = images(channels=channels)
    before, state = given.clone(), torch.get_rng_state()
    found, again, other = (AUGMENTATIONS[name](given, True, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert found.shape == given.shape
    assert found.dtype == torch.uint8
    assert torch.equal(found, again)
    assert torch.equal(found, other) == (name == "none")
    assert torch.equal(given, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_cut_out_blackens_a_square_of_a_quarter_of_the_area():
    found = AUGMENTATIONS["cut-out"](images(height=16, width=16), True, torch.Generator().manual_seed(0))
    black = (found == 0).all(1)
    assert black.sum((1, 2)).tolist() == [64] * 50
    corners = {tuple(mask.nonzero()[0].tolist()) for mask in black}
    assert len(corners) > 20
    assert all(mask[y : y + 8, x : x + 8].all() for mask in black for y, x in [mask.nonzero()[0].tolist()])


@pytest.mark.parametrize(("flips", "mirrored"), [(True, True), (False, False)])
def test_random_resized_crop_mirrors_only_where_that_keeps_the_class(flips, mirrored):
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(200, 1, 32, 32)
    found = AUGMENTATIONS["random-resized-crop"](ramp, flips, torch.Generator().manual_seed(0)).float()
    falling = (found[:, 0, :, 0] > found[:, 0, :, -1]).all(1)
    assert bool(falling.any()) == mirrored
    assert not falling.all()


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (True, ("shift-flip",)),
        (False, ()),
        ("none", ()),
        ("trivial+cut-out", ("trivial", "cut-out")),
        (["none", "cut-out", "shift-flip"], ("cut-out", "shift-flip")),
    ],
)
def test_what_a_value_stands_for(value, names):
    assert names_of(value) == names


@pytest.mark.parametrize("value", ["cutout", ["trivial", 3], 3, "trivial+"])
def test_what_names_no_augmentation_is_refused(value):
    with pytest.raises(DataError, match="augment must be"):
        names_of(value)


def test_batches_do_one_after_another():
    split = Split(images(), torch.arange(50), "train")
    kinds = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3, "shuffle": False, "seed": 4}
    ((found, _),) = Batches(split, 50, augment="cut-out+shift-flip", **kinds)
    ((plain, _),) = Batches(split, 50, augment=False, **kinds)
    assert ((found == 0).all(1).sum((1, 2)) >= 40).all()
    assert not torch.equal(found, plain)
