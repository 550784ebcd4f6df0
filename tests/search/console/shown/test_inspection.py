import io
import json

import pytest
import torch
from rich.console import Console

from branchfold.errors import NetworkError
from branchfold.models.networks.factories import build_network
from branchfold.search.console.shown.inspection import groups_table, inspection
from branchfold.search.data.splits import first_images

# Trials are asked for by hand here, without a heartbeat, of which Optuna warns.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


def printed(table):
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return " ".join(out.getvalue().split())


class TestSensitivity:
    def test_is_that_of_the_checkpoint_on_the_data(self, tmp_path):
        images = first_images("digits", "data", 64)
        network = build_network("vgg_digits", {"width": 0.25})
        with torch.no_grad():  # the second half of the first layer's channels repeats the first
            for layer in network.features[:2]:
                layer.weight[4:] = layer.weight[:4]
        torch.save(network.state_dict(), tmp_path / "net.pt")
        found = inspection("vgg_digits", {"width": 0.25}, None, checkpoint=tmp_path / "net.pt", examples=images)
        errors = {group["name"]: group["errors"] for group in found["groups"]}
        assert errors["features.0"][0] == pytest.approx(1)
        assert errors["features.0"][4] == pytest.approx(0, abs=1e-6)
        assert errors["features.0"][3] > 1e-4
        assert errors["features.3"][4] > 1e-4
        assert errors["classifier"] is None
        assert "error at 50.0 %" in printed(groups_table(found))

    def test_is_left_out_without_data(self):
        found = inspection("vgg_digits", {}, None)
        assert all(group["errors"] is None for group in found["groups"])
        assert "error at 50.0 %" not in printed(groups_table(found))

    def test_another_networks_checkpoint_is_refused(self, tmp_path):
        torch.save(build_network("vgg_digits", {"width": 0.5}).state_dict(), tmp_path / "net.pt")
        with pytest.raises(NetworkError, match="is of another network than vgg_digits builds"):
            inspection("vgg_digits", {}, None, checkpoint=tmp_path / "net.pt")


class TestInspection:
    def test_the_width_of_heads_is_that_of_one(self):
        group = {
            "name": "qkv",
            "width": 12,
            "resolution": [],
            "writers": ["qkv"],
            "readers": ["proj"],
            "prunable": True,
        }
        rest = {"reason": "", "attributes": [], "computed": [], "blocks": 1, "macs_saved_by_half": 0.1, "errors": None}
        groups = [{**group, **rest, "heads": heads} for heads in (4, 1)]
        text = printed(groups_table({"model": "vit", "input": [3, 8, 8], "macs": 1, "parameters": 1, "groups": groups}))
        assert "│ 12 × 4 │" in text
        assert "│ 12 │" in text
        assert "width × heads: channels of one head" in text
        assert "× heads" not in printed(groups_table(inspection("vgg_digits", {}, None)))

    def test_costs_of_halved_groups_are_those_counted_by_hand(self):
        found = inspection("vgg_digits", {}, None)
        assert found["input"] == [1, 8, 8]
        full = 9 * (32 * 64 + 32 * 32 * 64 + 32 * 64 * 16 + 64 * 64 * 16 + 64 * 128 * 4 + 128 * 128 * 4) + 512 * 10
        assert found["macs"] == full
        by_name = {group["name"]: group for group in found["groups"]}
        first, last = by_name["features.0"], by_name["features.17"]
        assert first["macs_saved_by_half"] == pytest.approx(9 * (16 * 64 + 16 * 32 * 64) / full)
        assert last["macs_saved_by_half"] == pytest.approx((9 * 128 * 64 * 4 + 64 * 4 * 10) / full)
        assert first["writers"] == ["features.0"]
        assert first["readers"] == ["features.3"]
        assert by_name["classifier"]["prunable"] is False
        assert by_name["classifier"]["reason"]
        assert by_name["classifier"]["macs_saved_by_half"] == 0
        json.dumps(found)

    def test_layers_that_hold_their_weight_are_told(self, tmp_path):
        (tmp_path / "net.py").write_text(
            "from torch import nn\nfrom torch.nn.utils.parametrizations import weight_norm\n\n\n"
            "def net():\n    return nn.Sequential(weight_norm(nn.Conv2d(3, 8, 1)), nn.ReLU(), nn.Conv2d(8, 2, 1))\n"
        )
        found = inspection(f"{tmp_path / 'net.py'}:net", {}, (3, 8, 8))
        assert [group["computed"] for group in found["groups"]] == [["0 (WeightNorm)"], []]
        assert "0 (WeightNorm)" in printed(groups_table(found))

    def test_residual_groups_in_the_table(self):
        text = printed(groups_table(inspection("resnet20", {"width": 0.5}, None)))
        assert "resnet20: input 3×32×32" in text
        assert "(4)" in text  # the stem and three blocks write one group
        assert "32×32" in text

    def test_unknown_input(self, tmp_path):
        (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Conv2d(2, 4, 3)\n")
        spec = f"{tmp_path}/net.py:make"
        with pytest.raises(NetworkError, match="--input, for example 3x224x224"):
            inspection(spec, {}, None)
        assert inspection(spec, {}, (2, 5, 6))["macs"] == 4 * 3 * 4 * 2 * 9
