"""Networks in files, and what a damaged one is told by."""

import pytest
import torch
from comparing import normal

from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import (
    NetworkDescription,
    save_network,
)
from branchfold.models.networks.factories import build_network


@pytest.fixture
def saved(tmp_path, randomise, randomise_branches):
    """A folded network in a file, its inputs and the path."""

    def save(spec="vgg_digits", arguments=None, shape=(1, 8, 9), keep=0.5, dtype=torch.float32):
        arguments = {"width": 0.25} if arguments is None else arguments
        network, inputs = randomise(build_network(spec, arguments)).to(dtype), normal(3, *shape).to(dtype)
        branched = randomise_branches(add_branches(network, inputs, keep=keep, init="kaiming"))
        path = tmp_path / "deep" / "small.safetensors"
        description = NetworkDescription(
            factory=spec,
            arguments=arguments,
            input_shape=list(shape),
            widths=dict(branched.plan.widths),
            data={"name": "digits", "mean": [0.3], "std": [0.25]},
            metrics=[{"split": "test", "metric": "accuracy", "value": 0.97, "examples": 360, "seed": 0}],
            origin={"study": "α", "trial": 7},
            dtype=str(dtype).removeprefix("torch."),
        )
        small = fold(branched).to(dtype)
        save_network(small, path, description)
        return small, inputs, path

    return save
