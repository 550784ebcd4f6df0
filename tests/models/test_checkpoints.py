import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comparing import normal
from safetensors.torch import load_file, save_file
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import (
    NetworkDescription,
    is_checkpoint,
    load_network,
    read_description,
    save_network,
)
from branchfold.models.networks.factories import build_network

OWN_FILE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("was_run").touch()

def build(channels=8):
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 4, 1))
"""


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
            accuracies=[{"split": "test", "accuracy": 0.97, "examples": 360, "seed": 0}],
            origin={"study": "α", "trial": 7},
            dtype=str(dtype).removeprefix("torch."),
        )
        small = fold(branched).to(dtype)
        save_network(small, path, description)
        return small, inputs, path

    return save


def rewrite_header(path, change):
    """Changes the header's JSON and leaves the tensors alone."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header = change(header) or header
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def describe(path, **changes):
    """Changes entries of the description."""

    def change(header):
        description = json.loads(header["__metadata__"]["branchfold"])
        for name, value in changes.items():
            if value is ...:
                del description[name]
            else:
                description[name] = value
        header["__metadata__"]["branchfold"] = json.dumps(description)

    rewrite_header(path, change)


def message_of(function, *arguments):
    with pytest.raises(NetworkError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    assert description.accuracies == [{"split": "test", "accuracy": 0.97, "examples": 360, "seed": 0}]
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


def test_a_missing_file_is_told(tmp_path):
    assert message_of(load_network, tmp_path / "none.safetensors").startswith("there is no checkpoint")
    assert message_of(load_network, tmp_path) == f"{tmp_path} is a folder and no checkpoint"
    assert message_of(load_network, 3) == "path must be a file's, but got 3"


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(saved, share):
    _, _, path = saved()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "is not a whole safetensors file" in message_of(load_network, path)


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    assert "is not a whole safetensors file" in message_of(load_network, path)
    save_file({"weight": torch.zeros(3)}, path)
    assert "holds no description of its network" in message_of(load_network, path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"text"', "{}", '{"factory": "vgg_digits"}', '{"factory": "vgg16", "more": 1}']
)
def test_a_damaged_description_is_refused(saved, text):
    _, _, path = saved()

    def change(header):
        header["__metadata__"]["branchfold"] = text

    rewrite_header(path, change)
    assert f"the description in {path} is damaged" in message_of(load_network, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"factory": ...},
        {"factory": 3},
        {"factory": None},
        {"arguments": [1, 2]},
        {"arguments": None},
        {"arguments": {"width": "wide"}},
        {"arguments": {"depth": 3}},
        {"arguments": {"num_classes": 11}},
        {"input_shape": "abc"},
        {"input_shape": None},
        {"input_shape": 8},
        {"input_shape": [8, 8]},
        {"input_shape": [1, -8, 8]},
        {"input_shape": [3, 8, 8]},
        {"widths": [4]},
        {"widths": None},
        {"widths": {}},
        {"widths": {"features.0": 5}},
        {"widths": {"features.0": 400}},
        {"widths": {"features.0": 0}},
        {"widths": {"features.0": -4}},
        {"widths": {"features.0": "4"}},
        {"widths": {"features.0": None}},
        {"widths": {"features.99": 4}},
        {"widths": {"classifier": 4}},
        {"dtype": "int8"},
        {"dtype": ["float32"]},
        {"dtype": None},
        {"format": 1},
        {"format": "2"},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused_in_one_line(saved, changes):
    _, _, path = saved()
    describe(path, **changes)
    assert message_of(load_network, path)


def test_a_tensor_of_the_header_with_another_shape_is_refused(saved):
    _, _, path = saved()

    def swap(header):
        shape = header["classifier.weight"]["shape"]
        shape.reverse()

    rewrite_header(path, swap)
    assert "does not fit the network that vgg_digits builds" in message_of(load_network, path)


def test_another_networks_tensors_are_refused(saved, tmp_path):
    _, _, path = saved()
    description = read_description(path)
    for other in (nn.Linear(3, 2), build_network("resnet20", {"width": 0.25})):
        save_network(other, tmp_path / "other.safetensors", description)
        assert "does not fit the network that vgg_digits builds" in message_of(
            load_network, tmp_path / "other.safetensors"
        )


# Code is never run because a file names it


def test_the_users_own_factory_must_be_given(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(OWN_FILE)
    spec = f"{file}:build"
    network = build_network(spec, {"channels": 6})
    (tmp_path / "was_run").unlink()
    path = tmp_path / "own.safetensors"
    save_network(fold(add_branches(network, torch.randn(2, 3, 7, 8), keep=0.5)), path,
                 NetworkDescription(spec, {"channels": 6}, [3, 7, 8], {"0": 3}))  # fmt: skip
    refused = message_of(load_network, path)
    assert f"was built by {spec}" in refused
    assert "load_network(path, factory=" in refused
    assert "--" not in refused  # the command line's option is told by the command line
    code = (
        "import sys\nfrom branchfold.errors import NetworkError\n"
        "from branchfold.models.checkpoints import load_network\n"
        "try:\n    load_network(sys.argv[1])\nexcept NetworkError as error:\n    print('refused')\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == "refused\n"
    assert not (tmp_path / "was_run").exists()
    for factory in (spec, lambda channels: build_network(spec, {"channels": channels})):
        loaded = load_network(path, factory)
        assert loaded[0].out_channels == 3
    assert "does not accept inputs" in message_of(load_network, path, lambda channels: nn.Linear(channels, 2))
    assert "does not fit" in message_of(load_network, path, lambda: nn.Linear(1, 2))
    assert "does not fit" in message_of(load_network, path, lambda channels: {"not": "a network"})


@pytest.mark.parametrize(
    "factory",
    [
        "os:system",
        "subprocess:run",
        "builtins:exec",
        "torch:load",
        "torch.hub:load",
        "evil.py:build",
        "/tmp/evil.py:build",
        "vgg16:build",
        "torchvision.models:vgg16",
    ],
)
def test_a_factory_that_a_file_names_is_never_run(saved, monkeypatch, tmp_path, factory):
    _, _, path = saved()
    marker = tmp_path / "was_run"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda *a, **k: marker.touch())
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: marker.touch())
    describe(path, factory=factory, arguments={"command": f"touch {marker}"})
    assert "is not run unasked" in message_of(load_network, path)
    assert not marker.exists()


@pytest.mark.parametrize("arguments", [{"weights": "DEFAULT"}, {"pretrained": True}, {"weights_backbone": "DEFAULT"}])
def test_a_file_cannot_make_torchvision_download(saved, monkeypatch, arguments):
    _, _, path = saved()

    def no_download(*args, **kwargs):
        raise AssertionError("tried to download weights")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_download)
    describe(path, factory="torchvision:resnet18", arguments=arguments)
    assert "without weights" in message_of(load_network, path)


# Writing


def test_a_failed_write_leaves_nothing_behind(saved, monkeypatch, tmp_path):
    small, _, path = saved()
    before = path.read_bytes()
    description = read_description(path)

    def full(*arguments, **options):
        Path(arguments[1]).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("branchfold.models.checkpoints.save_model", full)
    with pytest.raises(NetworkError, match=r"cannot write .*: No space left on device"):
        save_network(small, path, description)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    monkeypatch.undo()
    with pytest.raises(TypeError):
        save_network(small, path, NetworkDescription("vgg_digits", {"width": object()}, [1, 8, 8]))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_full_disk_is_told_by_safetensors_in_its_own_way(saved):
    small, _, path = saved()
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(NetworkError, match=r"cannot write .*File too large"):
            save_network(small, path, read_description(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_files_that_are_branchfolds_own(saved, tmp_path):
    _, _, path = saved()
    assert is_checkpoint(path)
    weights = load_file(path)
    save_file(weights, tmp_path / "later", metadata={"branchfold": json.dumps({"format": 99})})
    save_file(weights, tmp_path / "bare")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-1])
    assert [is_checkpoint(tmp_path / name) for name in ("later", "bare", "cut", "none")] == [True, False, False, False]


def test_a_place_that_cannot_be_written_is_told(saved, tmp_path):
    small, _, path = saved()
    description = read_description(path)
    (tmp_path / "folder.safetensors").mkdir()
    assert "cannot write" in message_of(save_network, small, tmp_path / "folder.safetensors", description)
    (tmp_path / "file").write_text("")
    assert "cannot write" in message_of(save_network, small, tmp_path / "file" / "small.safetensors", description)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deep", "file", "folder.safetensors"]


def test_a_file_is_replaced_and_has_the_mode_of_a_new_file(saved):
    small, inputs, path = saved()
    with torch.no_grad():
        small.classifier.bias.add_(1)
    save_network(small, path, read_description(path))
    assert torch.equal(load_network(path)(inputs), small(inputs))
    other = path.with_name("other")
    other.write_text("")
    assert path.stat().st_mode == other.stat().st_mode


def test_weights_in_another_memory_layout_are_saved(saved):
    small, inputs, path = saved()
    outputs = small(inputs)
    save_network(small.to(memory_format=torch.channels_last), path, read_description(path))
    torch.testing.assert_close(load_network(path)(inputs), outputs)


def test_a_changed_byte_of_a_weight_is_found(saved):
    _, _, path = saved()
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(bytes(content))
    assert "is damaged: it does not hold what was saved" in message_of(load_network, path)


def test_a_changed_description_is_found(saved):
    _, _, path = saved()
    changed = {**read_description(path).__dict__, "origin": {"study": "another"}}
    save_file(load_file(path), path, metadata={"branchfold": json.dumps(changed)})
    assert "is damaged: it does not hold what was saved" in message_of(load_network, path)
