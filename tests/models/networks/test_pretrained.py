"""Published weights, from caches that the tests prepare: nothing is downloaded."""

import socket

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from branchfold.errors import NetworkError
from branchfold.models.networks.factories import build_network, default_input_shape, resolve_factory
from branchfold.models.networks.pretrained import load_published, stated_normalisation

TIMM = "test_byobnet"  # of 0.5 million parameters, with published weights


@pytest.fixture
def torch_cache(tmp_path, monkeypatch):
    """Torch's cache, without a network."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    return folder


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """Hugging Face's cache, offline; puts a network's weights into it."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    # From here on, timm falls back on an address of its own that is not in torch's cache either.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def put(network):
        folder = cache / f"models--{network.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_file(network.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")

    return put


def message_of(act, *args):
    with pytest.raises(NetworkError) as caught:
        act(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestTorchvision:
    def test_weights_come_from_the_cache_and_another_classifier_stays(self, torch_cache):
        torch.manual_seed(1)
        published = resnet18().state_dict()
        torch.save(published, torch_cache / ResNet18_Weights.DEFAULT.url.rpartition("/")[2])
        whole, other = (build_network("torchvision:resnet18", {"num_classes": n}) for n in (1000, 7))
        head = other.fc.weight.clone()
        assert load_published(whole, "torchvision:resnet18", {"num_classes": 1000}, "DEFAULT") == []
        assert all(torch.equal(value, published[name]) for name, value in whole.state_dict().items())
        assert load_published(other, "torchvision:resnet18", {"num_classes": 7}, "IMAGENET1K_V1") == [
            "fc.bias",
            "fc.weight",
        ]
        assert torch.equal(other.conv1.weight, published["conv1.weight"])
        assert torch.equal(other.fc.weight, head)

    def test_neither_cached_nor_to_be_downloaded_is_one_line(self, torch_cache):
        network = build_network("torchvision:resnet18", {})
        message = message_of(load_published, network, "torchvision:resnet18", {}, "DEFAULT")
        for part in ("'DEFAULT' of torchvision:resnet18", str(torch_cache), "no route to host", "baseline.checkpoint"):
            assert part in message

    def test_unknown_names_and_networks_without_any(self):
        network = build_network("resnet20", {})
        assert "did you mean IMAGENET1K_V1?" in message_of(
            load_published, network, "torchvision:resnet18", {}, "IMAGENET1K"
        )
        assert "not of resnet20; give baseline.checkpoint" in message_of(
            load_published, network, "resnet20", {}, "DEFAULT"
        )

    def test_stated_normalisation(self):
        mean, std = stated_normalisation("torchvision:resnet18")
        assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert stated_normalisation("resnet20") is None


class TestTimm:
    def test_is_built_without_weights_and_keeps_its_class(self):
        network = build_network(f"timm:{TIMM}", {"num_classes": 5})
        assert type(network) is type(timm.create_model(TIMM))
        assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
        assert default_input_shape(f"timm:{TIMM}", {"in_chans": 1}) == (1, 160, 160)

    @pytest.mark.parametrize("argument", ["pretrained", "checkpoint_path", "pretrained_cfg"])
    def test_weights_are_no_argument(self, argument):
        assert "built without weights" in message_of(build_network, f"timm:{TIMM}", {argument: "x"})

    @pytest.mark.parametrize("name", ["hf_hub:timm/resnet18", "local-dir:/tmp", "resnet_18", ""])
    def test_only_names_of_its_table(self, name):
        assert "timm has no network" in message_of(resolve_factory, f"timm:{name}")

    def test_weights_come_from_the_cache_and_another_classifier_stays(self, hugging_face):
        torch.manual_seed(1)
        published = timm.create_model(TIMM)
        hugging_face(published)
        network, other = (build_network(f"timm:{TIMM}", arguments) for arguments in ({}, {"num_classes": 5}))
        assert load_published(network, f"timm:{TIMM}", {}, "DEFAULT") == []
        expected = published.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
        head = other.head.fc.weight.clone()
        left = load_published(other, f"timm:{TIMM}", {"num_classes": 5}, "DEFAULT")
        assert left == ["head.fc.bias", "head.fc.weight"]
        assert torch.equal(other.head.fc.weight, head)

    def test_neither_cached_nor_to_be_downloaded_is_one_line(self, hugging_face, torch_cache):
        message = message_of(load_published, build_network(f"timm:{TIMM}", {}), f"timm:{TIMM}", {}, "DEFAULT")
        assert f"'DEFAULT' of timm:{TIMM} are not in Hugging Face's cache and cannot be downloaded" in message

    def test_where_the_hub_is_not_known_nothing_is_tried(self, hugging_face, torch_cache, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
        monkeypatch.setattr("branchfold.models.networks.pretrained.getproxies", dict)
        asked = []

        def unknown(host, port):
            asked.append((host, port, constants.HF_HUB_OFFLINE))
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr("socket.getaddrinfo", unknown)
        message = message_of(load_published, build_network(f"timm:{TIMM}", {}), f"timm:{TIMM}", {}, "DEFAULT")
        assert "cannot be downloaded" in message
        assert asked == [("nowhere.invalid", 443, False)]  # the hub itself asked for no address
        assert constants.HF_HUB_OFFLINE is False

    def test_unknown_weights(self):
        network = build_network(f"timm:{TIMM}", {})
        assert "has no weights 'a1'" in message_of(load_published, network, f"timm:{TIMM}", {}, "a1")

    def test_stated_normalisation(self):
        config = timm.create_model(TIMM).pretrained_cfg
        assert stated_normalisation(f"timm:{TIMM}") == (config["mean"], config["std"])
