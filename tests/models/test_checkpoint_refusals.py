"""Checkpoints that are refused: damaged, of another network, or naming code of the user's own."""

import os
import subprocess
import sys

import pytest
import torch
from headers import describe, message_of, rewrite_header
from safetensors.torch import save_file
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import (
    NetworkDescription,
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
