"""The networks that give as many pixels as they get."""

import pytest
import torch

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.networks.autoencoder import autoencoder
from branchfold.models.networks.unet import unet


@pytest.mark.parametrize(
    ("network", "shape", "given"),
    [
        (unet(0.25, in_channels=3, num_classes=5), (2, 3, 16, 24), (2, 5, 16, 24)),
        (autoencoder(0.25, in_channels=3), (2, 3, 8, 12), (2, 3, 8, 12)),
    ],
)
def test_every_width_but_the_outputs_is_narrowed_and_folded_exactly(network, shape, given):
    torch.manual_seed(0)
    network, images = network.double().eval(), torch.randn(shape, dtype=torch.float64)
    assert network(images).shape == given
    assert sum(not group.prunable for group in channel_groups(network, images)) == 1
    branched = add_branches(network, images, keep=0.5, init="least-squares")
    branched.set_alpha(0.0)
    torch.testing.assert_close(fold(branched)(images), branched(images), rtol=0, atol=1e-9)


def test_an_auto_encoder_goes_through_its_code():
    network = autoencoder(code=3)
    assert network.encoder(torch.zeros(2, 1, 8, 8)).shape == (2, 3, 2, 2)
