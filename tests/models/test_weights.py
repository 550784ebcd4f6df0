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


class Hyperparameters:
    """An object of the user's own beside the weights; building one would be to run the file's code."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __setstate__(self, state):
        raise AssertionError("the file's object was built")


class Lit(nn.Module):
    """What Lightning's modules are to a checkpoint: the network is an attribute, and not the only one."""

    def __init__(self, network):
        super().__init__()
        self.net, self.loss = network, nn.PReLU(3)


@pytest.mark.parametrize(
    "layout",
    [
        lambda net: {"state_dict": Lit(net).state_dict(), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
        lambda net: {"state_dict": Lit(nn.DataParallel(net)).state_dict(), "hyper_parameters": Hyperparameters(lr=1)},
        lambda net: {"model": nn.DataParallel(net).state_dict(), "optimizer": {"state": {}}, "args": Hyperparameters()},
        lambda net: {"arch": "vgg", "state_dict_ema": {}, "state_dict": net.state_dict(), "metric": 71.5},
        lambda net: {"model": {"state_dict": net.state_dict()}},
        lambda net: dict(net.state_dict()),
    ],
    ids=["lightning", "lightning-parallel", "torchvision", "timm", "nested", "plain"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_checkpoints_of_training_loops_are_read_without_building_what_else_they_hold(layout, tmp_path):
    torch.save(layout(plain()), tmp_path / "net.ckpt")
    network = plain(seed=4)
    fill(network, read_weights(tmp_path / "net.ckpt"), "net.ckpt", "vgg_digits")
    expected = plain().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_batchnorms_counters_may_be_missing():
    weights = {name: value for name, value in plain().state_dict().items() if not name.endswith("num_batches_tracked")}
    network = plain(seed=4)
    fill(network, weights, "net.pt", "vgg_digits")
    assert all(torch.equal(network.state_dict()[name], value) for name, value in weights.items())


def test_misfits_are_told_key_by_key_with_the_nearest_guess():
    weights = plain().state_dict()
    weights["features.zero.weight"] = weights.pop("features.0.weight")
    weights["classifier.weight"] = torch.zeros(12, 3)
    with pytest.raises(NetworkError) as caught:
        fill(plain(), weights, "net.pt", "vgg_digits")
    message = str(caught.value)
    shape = tuple(plain().classifier.weight.shape)
    assert "missing features.0.weight (is it features.zero.weight?); unexpected features.zero.weight;" in message
    assert f"of other shapes classifier.weight is (12, 3), not {shape}" in message


def test_what_holds_no_tensors_tells_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "weights": [1.0]}, tmp_path / "net.pt")
    with pytest.raises(NetworkError, match=r"holds no state dict \(it holds epoch, weights\)"):
        read_weights(tmp_path / "net.pt")
