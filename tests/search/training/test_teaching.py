"""What a teacher says of the training images, computed once and looked up."""

import pytest
import torch
from torch import nn

from branchfold.errors import DataError
from branchfold.search.data.batches import Batches, Split
from branchfold.search.data.splits import ImageData
from branchfold.search.training.arithmetic import PLAIN, Arithmetic
from branchfold.search.training.teaching import is_known, known_outputs

COUNT = 37


class Teacher(nn.Module):
    """Outputs that tell which image came, and which way round."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm(self.conv(images)).flatten(1)[:, :10]


def image_data(flips):
    images = torch.randint(256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    splits = [Split(images[:count], torch.arange(count), "train", flips) for count in (COUNT, 5)]
    return ImageData("made", COUNT, (3, 8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), *splits)


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    return Teacher().train()


@pytest.mark.parametrize("flips", [True, False])
@pytest.mark.parametrize("augment", [False, "flip"])
def test_a_batch_has_what_the_teacher_says_of_its_very_images(teacher, flips, augment):
    data = image_data(flips)
    known = known_outputs(teacher, data, PLAIN, torch.device("cpu"))
    assert teacher.training
    teacher.eval()
    batches = data.batches(data.train, 8, shuffle=True, augment=augment, seed=5, known=known)
    mirrored = 0
    for _ in range(2):
        for images, labels, taught in batches:
            torch.testing.assert_close(taught, teacher(images).detach())
            plain = next(iter(data.batches(data.train, COUNT)))[0][labels]
            mirrored += int((images != plain).flatten(1).any(1).sum())
    assert (mirrored > 20) == (flips and augment == "flip")


def test_the_images_are_the_same_with_and_without_what_is_known(teacher):
    data = image_data(True)
    known = known_outputs(teacher, data, PLAIN, torch.device("cpu"))
    options = {"shuffle": True, "augment": "flip", "seed": 3}
    for with_it, without in zip(
        data.batches(data.train, 8, known=known, **options), data.batches(data.train, 8, **options), strict=True
    ):
        assert torch.equal(with_it[0], without[0])
        assert torch.equal(with_it[1], without[1])
        assert (len(with_it), len(without)) == (3, 2)


def test_other_images_are_refused(teacher):
    data = image_data(True)
    with pytest.raises(DataError, match="augment = 'shift-flip' makes other images than those that something is known"):
        Batches(
            data.train,
            8,
            mean=data.mean,
            std=data.std,
            shuffle=True,
            augment="flip+shift-flip",
            seed=0,
            known=torch.zeros(COUNT, 2, 3),
        )


def test_in_bfloat16_the_outputs_are_near_and_float32(teacher):
    data, cpu = image_data(True), torch.device("cpu")
    exact, near = (known_outputs(teacher, data, each, cpu) for each in (PLAIN, Arithmetic("bfloat16", "channels_last")))
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("outputs", "augment", "expected"),
    [
        (torch.zeros(2, 10), "flip", True),
        (torch.zeros(2, 10), False, True),
        (torch.zeros(2, 10), True, False),
        (torch.zeros(2, 10), "flip+cut-out", False),
        (torch.zeros(2, 3, 8, 8), "none", False),
        ((torch.zeros(2, 10),), "none", False),
        (torch.empty(2, 2**31, device="meta"), "none", False),
    ],
)
def test_only_outputs_of_images_that_come_again_are_kept(outputs, augment, expected):
    assert is_known(outputs, image_data(True), augment) == expected
