import pickle
import sys

import pytest
import torch
from torch import nn

from branchfold.errors import BranchfoldError, NetworkError
from branchfold.models.networks.factories import build_network, default_input_shape, resolve_factory
from branchfold.models.networks.vgg import vgg16

OWN_FILE = """
from torch import nn
from models.blocks import head

def tiny(channels=2, *, classes):
    return nn.Sequential(nn.Conv2d(1, channels, 3), nn.Flatten(), head(channels, classes))

def late(channels=2):
    from models import late_blocks
    return late_blocks.build(channels)

class Net(nn.Linear):
    pass

def not_a_network():
    return {"weights": 1}

def fails(width):
    raise RuntimeError(f"no such width\\nas {width}")

number = 3
"""


@pytest.fixture(autouse=True)
def _modules_as_before():
    before = dict(sys.modules)
    path = list(sys.path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] in {"models", "net", "userpkg"} or name.startswith("_branchfold_factory_"):
            del sys.modules[name]


def make_project(folder, marker=0):
    package = folder / "models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "blocks.py").write_text(
        f"from torch import nn\nmarker = {marker}\ndef head(i, o):\n    return nn.Linear(i, o + marker)\n"
    )
    (package / "late_blocks.py").write_text(
        f"from torch import nn\ndef build(c):\n    return nn.Linear(c, {100 + marker})\n"
    )
    (folder / "net.py").write_text(OWN_FILE)
    return folder / "net.py"


def message_of(spec, **arguments):
    with pytest.raises(NetworkError) as caught:
        build_network(spec, arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, BranchfoldError)
    return message


def test_a_reference_name_gives_its_factory_and_network():
    assert resolve_factory("vgg16") is vgg16
    network = build_network("resnet20", {"width": 0.25, "num_classes": 3})
    assert network.fc.weight.shape == (3, 16)


def test_a_file_imports_the_models_package_beside_it(tmp_path):
    network = build_network(f"{make_project(tmp_path)}:tiny", {"channels": 5, "classes": 4})
    assert network[2].weight.shape == (4, 5)


def test_a_factory_may_import_only_when_it_is_called(tmp_path):
    assert build_network(f"{make_project(tmp_path)}:late", {}).weight.shape == (100, 2)


def test_two_files_each_get_the_models_package_beside_them(tmp_path):
    first, second = make_project(tmp_path / "a", marker=1), make_project(tmp_path / "b", marker=2)
    for spec, outputs in ((first, 5), (second, 6), (first, 5)):
        assert build_network(f"{spec}:tiny", {"classes": 4})[2].out_features == outputs
    assert build_network(f"{first}:late", {}).out_features == 101
    assert build_network(f"{second}:late", {}).out_features == 102


def test_a_users_models_package_does_not_replace_installed_or_own_modules(tmp_path):
    import json

    import branchfold

    path = make_project(tmp_path)
    for name in ("json", "branchfold", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    build_network(f"{path}:tiny", {"classes": 4})
    assert sys.modules["json"] is json
    assert sys.modules["branchfold"] is branchfold


def test_a_files_module_stays_registered_and_is_imported_once(tmp_path):
    path = make_project(tmp_path)
    network = build_network(f"{path}:Net", {"in_features": 2, "out_features": 3})
    assert type(build_network(f"{path}:Net", {"in_features": 2, "out_features": 3})) is type(network)
    assert sys.modules[type(network).__module__].__file__ == str(path)
    copy = pickle.loads(pickle.dumps(network))
    assert torch.equal(copy.weight, network.weight)


def test_a_changed_file_is_imported_anew(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\ndef build(): return nn.Linear(1, 2)\n")
    assert build_network(f"{path}:build", {}).out_features == 2
    path.write_text("from torch import nn\ndef build(): return nn.Linear(1, 3)\n")
    assert build_network(f"{path}:build", {}).out_features == 3


def test_a_relative_path_and_a_module_are_found_from_the_working_directory(tmp_path, monkeypatch):
    make_project(tmp_path)
    (tmp_path / "userpkg").mkdir()
    (tmp_path / "userpkg" / "nets.py").write_text("from torch import nn\ndef build(n): return nn.Linear(n, n)\n")
    monkeypatch.chdir(tmp_path)
    assert build_network("net.py:tiny", {"classes": 4})[0].out_channels == 2
    assert build_network("userpkg.nets:build", {"n": 6}).in_features == 6


def test_an_installed_modules_factory_is_found():
    assert isinstance(build_network("torch.nn:Linear", {"in_features": 2, "out_features": 3}), nn.Linear)


def test_torchvision_networks_are_built_without_weights(monkeypatch):
    def no_download(*args, **kwargs):
        raise AssertionError("tried to download weights")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_download)
    assert build_network("torchvision:resnet18", {"num_classes": 5}).fc.weight.shape == (5, 512)
    # Its backbone has pretrained weights by default.
    assert isinstance(build_network("torchvision:lraspp_mobilenet_v3_large", {"num_classes": 2}), nn.Module)
    for name in ("weights", "pretrained"):
        assert "without weights" in message_of("torchvision:resnet18", **{name: "DEFAULT"})


@pytest.mark.parametrize(
    ("spec", "arguments", "shape"),
    [
        ("vgg16", {}, (3, 32, 32)),
        ("vgg_digits", {"width": 0.5}, (1, 8, 8)),
        ("vgg16", {"in_channels": 1}, (1, 32, 32)),
        ("torchvision:resnet18", {}, (3, 224, 224)),
        ("torchvision:inception_v3", {}, (3, 299, 299)),
        ("torchvision:fcn_resnet50", {}, None),
        ("torchvision:r3d_18", {}, None),
        ("torchvision:nothing", {}, None),
        ("net.py:build", {}, None),
    ],
)
def test_default_input_shape(spec, arguments, shape):
    assert default_input_shape(spec, arguments) == shape


@pytest.mark.parametrize("spec", ["vgg61", "", ":", "vgg16:", ":build", "net.py"])
def test_an_unknown_name_is_one_line_with_the_accepted_forms(spec):
    message = message_of(spec)
    assert repr(spec) in message
    assert "FACTORY" in message


def test_an_unknown_name_comes_with_the_nearest():
    assert "'vgg61'; did you mean vgg16? (accepted: " in message_of("vgg61")
    assert "; did you mean resnet18? (accepted: " in message_of("torchvision:resnet81")


def test_bad_arguments_are_named_with_what_is_accepted(tmp_path):
    message = message_of("vgg16", widht=0.5)
    assert "'widht'" in message
    assert "did you mean width?" in message
    assert "accepted: width, in_channels, num_classes" in message
    assert "width=-1" in message_of("vgg16", width=-1)
    assert "'widht'" in message_of("torchvision:resnet18", widht=1)
    assert "needs the argument 'classes'" in message_of(f"{make_project(tmp_path)}:tiny")


def test_what_a_users_file_does_wrong_is_told(tmp_path):
    path = make_project(tmp_path)
    assert "must return a torch.nn.Module, but returned dict" in message_of(f"{path}:not_a_network")
    assert "RuntimeError: no such width" in message_of(f"{path}:fails", width=4)
    assert "'number' must be a function or class, but is int" in message_of(f"{path}:number")
    assert "has no 'tinny'; did you mean tiny?" in message_of(f"{path}:tinny")
    assert "no such file" in message_of(f"{tmp_path}/missing.py:build")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("import torch\nimport not_there_at_all\n", "line 2: ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("def build(:\n", "line 1: SyntaxError"),
        ("\n\nraise SystemExit(3)\n", "line 3: SystemExit: 3"),
    ],
)
def test_a_file_that_fails_to_import_is_named_with_its_line(tmp_path, content, expected):
    path = tmp_path / "net.py"
    path.write_text(content)
    before = set(sys.modules)
    assert expected in message_of(f"{path}:build")
    assert not any(name.startswith("_branchfold_factory_") for name in set(sys.modules) - before)


def test_a_module_that_is_missing_or_misnamed_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "No module named 'nowhere'" in message_of("nowhere.nets:build")
    assert "neither a .py file nor a module" in message_of("some/path:build")
