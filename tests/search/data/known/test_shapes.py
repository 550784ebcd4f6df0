"""The drawn shapes: repeatable, every class there, the mask under what is seen."""

import torch

from branchfold.search.data.known.shapes import CLASSES, draw_shapes


def test_the_same_seed_draws_the_same_and_another_seed_others():
    images, masks = draw_shapes(20, seed=3)
    again, masks_again = draw_shapes(20, seed=3)
    assert torch.equal(images, again)
    assert torch.equal(masks, masks_again)
    assert not torch.equal(images, draw_shapes(20, seed=4)[0])


def test_every_class_is_drawn_and_stands_out_from_the_noise():
    images, masks = draw_shapes(300, seed=0)
    assert images.dtype == torch.uint8
    values = images[:, 0].float()
    background = values[masks == 0]
    assert abs(float(background.mean()) - 127.5) < 1
    for number in range(1, len(CLASSES)):
        pixels = (values[masks == number] - 127.5).abs()
        assert len(pixels) > 1000
        assert float(pixels.mean()) > 2 * float((background - 127.5).abs().mean())
    assert all(len(mask.unique()) > 1 for mask in masks)
