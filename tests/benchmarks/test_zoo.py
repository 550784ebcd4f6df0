"""Networks of all kinds are folded exactly or refused; what is measured on them is measured right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("timm", reason="comes with the benchmark extra")
pytest.importorskip("segmentation_models_pytorch", reason="comes with the benchmark extra")
pytest.importorskip("torch_pruning", reason="comes with the benchmark extra")

pytestmark = pytest.mark.slow
ZOO = Path(__file__).parents[2] / "benchmarks" / "zoo.py"


def run(*arguments):
    return subprocess.run([sys.executable, ZOO, *map(str, arguments)], capture_output=True, text=True)


def test_no_network_of_the_quick_zoo_is_folded_wrongly(tmp_path):
    ended = run("--quick", "--tools", "branchfold", "--output", tmp_path / "zoo.json")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    rows = {key: row["branchfold"] for key, row in json.loads((tmp_path / "zoo.json").read_text())["networks"].items()}
    assert len(rows) == 25
    exact = [key for key, row in rows.items() if row.get("error_dense", 1) < 1e-9 and row["removed"] > 0.05]
    assert {"timm:resnet18", "own:densenet", "smp:unet/resnet18"} <= {*exact}
    assert not [key for key, row in rows.items() if "unusable" in row or "stopped" in row]


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    output = tmp_path / "zoo.json"
    arguments = ("--unchecked", "--output", output, "--tools", "branchfold", "--only")
    assert run(*arguments, "own:lenet").returncode == 0
    measured = json.loads(output.read_text())
    measured["networks"]["own:lenet"]["branchfold"]["removed"] = 0.123
    output.write_text(json.dumps(measured))
    ended = run(*arguments, "own:lenet", "own:unet")
    assert "own:lenet" not in ended.stderr
    rows = json.loads(output.read_text())["networks"]
    assert rows["own:lenet"]["branchfold"]["removed"] == 0.123
    assert rows["own:unet"]["branchfold"]["removed"] > 0.7


def test_another_seed_does_not_go_into_the_same_file(tmp_path):
    output = tmp_path / "zoo.json"
    assert run("--unchecked", "--output", output, "--tools", "branchfold", "--only", "own:lenet").returncode == 0
    ended = run("--seed", 3, "--unchecked", "--output", output, "--tools", "branchfold", "--only", "own:lenet")
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"{output} was measured with another seed: give another --output"


def test_a_process_over_its_limits_is_stopped():
    from branchfold.benchmarks.zoo_parts.processes import Limits, measure

    assert measure("branchfold", "own:unet", Limits(gigabytes=0.01))["stopped"] == "at 0.01 GB"
    assert measure("branchfold", "own:unet", Limits(tool=0.001))["stopped"] == "after 0.001 s of work"
    assert measure("branchfold", "own:unet", Limits(whole=0.01))["stopped"] == "after 0.01 s"


def test_faults_of_a_result_are_told():
    from branchfold.benchmarks.zoo_parts.tables import faults

    right = {"error_fold": 1e-12, "error_training": 1e-8, "error_larger": None, "untrained": [], "renamed": False}
    assert not faults(right)
    for wrong in (
        {"error_fold": 1e-8},
        {"error_larger": float("nan")},
        {"error_training": 1e-5},
        {"untrained": ["conv.weight"]},
        {"renamed": True},
        {"crash": "KeyError: 'x'", "stage": "checks"},
    ):
        assert len(faults({**right, **wrong})) == 1


def test_macs_are_counted_as_by_hand():
    from branchfold.benchmarks.zoo_parts.counting import count_macs

    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Flatten(), nn.Linear(8 * 4 * 6, 5))
    whole, by_path = count_macs(network, torch.randn(2, 3, 6, 8))
    assert by_path["0"] == 2 * 8 * 3 * 9 * 4 * 6
    assert by_path["2"] == 2 * 8 * 4 * 6 * 5
    assert whole == by_path["0"] + by_path["2"]


def test_reasons_hold_the_macs_of_their_groups():
    from branchfold.benchmarks.zoo_parts.causes import fixed_groups
    from branchfold.models import channel_groups

    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Softmax(1), nn.Conv2d(8, 4, 1)).eval()
    x = torch.randn(2, 3, 5, 5)
    rows = fixed_groups(channel_groups(network, x), {"0": 24, "2": 64, "4": 32}, 120, network, {network[0]})
    held = {row["reason"]: (row["groups"], round(120 * row["macs"])) for row in rows}
    assert held["it is the network's input"] == (0, 12)
    assert held["it is the network's output"] == (1, 16)
    assert held.pop("outside of layers") == (0, 0)
    softmax = next(value for reason, value in held.items() if "oftmax" in reason)
    assert softmax == (1, 32)
