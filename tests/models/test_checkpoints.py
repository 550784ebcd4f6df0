"""What is saved is what is loaded."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import (
    NetworkDescription,
    load_network,
    read_description,
    save_network,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keep", [0.5, 1e-9, 1.0])
def test_what_is_loaded_is_what_was_saved(saved, keep, dtype):
    small, inputs, path = saved(keep=keep, dtype=dtype)
    if keep == 1e-9:
        assert small.features[0].out_channels == 1
    loaded = load_network(path)
    assert type(loaded) is type(small)
    assert not loaded.training
    assert {name: (v.dtype, v.shape) for name, v in loaded.state_dict().items()} == {
        name: (v.dtype, v.shape) for name, v in small.state_dict().items()
    }
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in small.state_dict().items())
    if dtype != torch.float16:
        assert torch.equal(loaded(inputs), small(inputs))
    assert repr(loaded) == repr(small)


@pytest.mark.parametrize(
    ("spec", "arguments", "shape"),
    [
        ("resnet20", {"width": 0.5, "num_classes": 3}, (3, 16, 20)),
        ("torchvision:mobilenet_v3_small", {"num_classes": 3}, (3, 33, 40)),
        ("torchvision:densenet121", {"num_classes": 3}, (3, 32, 40)),
    ],
)
def test_networks_with_residual_gated_and_joined_channels_come_back(saved, spec, arguments, shape):
    keep = 0.3
    small, inputs, path = saved(spec, arguments, shape, keep)
    loaded = load_network(path)
    with torch.no_grad():
        assert torch.equal(loaded(inputs), small(inputs))


class Tokens(nn.Module):
    """Positions of a stream with a norm: a parameter, a buffer, and one that no file holds."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8), nn.Linear(8, 2)
        self.pos = nn.Parameter(torch.randn(1, 12, 8))
        self.register_buffer("scale", torch.rand(12, 8))
        self.register_buffer("zeros", torch.zeros(8), persistent=False)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm((x + self.pos) * self.scale + self.zeros).mean(1))


def test_positions_and_norms_come_back(tmp_path):
    torch.manual_seed(0)
    network, x, path = Tokens().eval(), torch.randn(2, 3, 6, 8), tmp_path / "own.safetensors"
    small = fold(add_branches(network, x, keep=0.5))
    save_network(small, path, NetworkDescription("own.py:Tokens", {}, [3, 6, 8], {"patches": 4}))
    loaded = load_network(path, Tokens)
    assert (loaded.pos.shape, loaded.scale.shape, loaded.zeros.shape) == ((1, 12, 4), (12, 4), (4,))
    assert loaded.norm.normalized_shape == (4,)
    assert torch.equal(loaded(x), small(x))


def test_the_description_comes_back(saved):
    _, _, path = saved()
    description = read_description(path)
    assert (description.factory, description.arguments) == ("vgg_digits", {"width": 0.25})
    assert description.input_shape == [1, 8, 9]
    assert description.widths["features.0"] == 4
    assert description.data == {"name": "digits", "mean": [0.3], "std": [0.25]}
    assert description.metrics == [{"split": "test", "metric": "accuracy", "value": 0.97, "examples": 360, "seed": 0}]
    assert description.origin == {"study": "α", "trial": 7}
    assert description.versions["torch"] == torch.__version__


def test_tied_weights_stay_tied(tmp_path):
    def tied():
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3))
        network[4].weight = network[2].weight
        return network.append(nn.Conv2d(6, 2, 1))

    torch.manual_seed(0)
    network, inputs = tied(), torch.randn(2, 3, 9, 10)
    save_network(network, tmp_path / "tied.safetensors", NetworkDescription("own", {}, [3, 9, 10]))
    loaded = load_network(tmp_path / "tied.safetensors", tied)
    assert torch.equal(loaded(inputs), network(inputs))
    assert loaded[4].weight is loaded[2].weight


def test_a_new_process_computes_the_same(saved, tmp_path):
    small, inputs, path = saved(shape=(1, 9, 8))
    torch.save({"inputs": inputs, "outputs": small(inputs).detach()}, tmp_path / "expected.pt")
    code = (
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from branchfold.models.checkpoints import load_network\n"
        "expected = torch.load(sys.argv[2])\n"
        "outputs = load_network(sys.argv[1])(expected['inputs'])\n"
        "assert torch.equal(outputs, expected['outputs']), (outputs - expected['outputs']).abs().max()\n"
        "assert not {'optuna', 'pytorch_lightning'} & set(sys.modules)\n"
        "print('same')\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "expected.pt")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (result.stdout, result.returncode) == ("same\n", 0), result.stderr


# Files that are not what they should be
