"""Weights from files: what wraps a network while it trains leaves its mark on their names."""

import io
import random
import zipfile

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models.networks.factories import build_network
from branchfold.models.weights import fill, read_weights


class Holder(nn.Module):
    """A network whose own names begin with `module.`."""

    def __init__(self):
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def plain(seed=3):
    torch.manual_seed(seed)
    return build_network("vgg_digits", {"width": 0.25})


def part_compiled(seed=3):
    network = plain(seed)
    network.features = torch.compile(network.features)
    return network


@pytest.mark.parametrize(
    ("wrapped", "prefix"),
    [
        (lambda: nn.DataParallel(plain()), "module.features.0.weight"),
        (lambda: torch.compile(plain()), "_orig_mod.features.0.weight"),
        (lambda: torch.compile(nn.DataParallel(plain())), "_orig_mod.module.features.0.weight"),
        (lambda: nn.DataParallel(torch.compile(plain())), "module._orig_mod.features.0.weight"),
        (part_compiled, "features._orig_mod.0.weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_wrapped_networks_weights_are_its_own(wrapped, prefix, tmp_path):
    state = wrapped().state_dict()
    assert prefix in state
    torch.save(state, tmp_path / "net.pt")
    network = plain(seed=4)
    fill(network, read_weights(tmp_path / "net.pt"), "net.pt", "vgg_digits")
    expected = plain().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_names_of_the_networks_own_stay():
    network, given = Holder(), Holder()
    fill(network, given.state_dict(), "net.pt", "Holder")
    assert torch.equal(network.module[0].weight, given.module[0].weight)
    fill(network, nn.DataParallel(given).state_dict(), "net.pt", "Holder")


def test_another_networks_are_still_refused():
    with pytest.raises(NetworkError, match="is of another network than resnet20 builds"):
        fill(build_network("resnet20", {}), nn.DataParallel(plain()).state_dict(), "net.pt", "resnet20")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused_whatever_the_damage(tmp_path):
    draw = random.Random(0)
    new, old, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(3)}, new)
    torch.save({"a": torch.ones(3)}, old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/y", "z")
    damaged = [b"", b"hello world", b".", archive.getvalue(), new.getvalue()[:400], old.getvalue()[:-5]]
    for _ in range(100):
        content = bytearray(draw.choice([new, old]).getvalue())
        for _ in range(4):
            content[draw.randrange(len(content))] = draw.randrange(256)
        damaged.append(bytes(content))
    messages = []
    for content in damaged:
        for name in ("net.pt", "net.safetensors"):
            (tmp_path / name).write_bytes(content)
            try:
                read_weights(tmp_path / name)
            except NetworkError as error:
                messages.append(str(error))
    assert len(messages) > 150
    assert not [text for text in messages if "\n" in text or text.endswith(": ")]
