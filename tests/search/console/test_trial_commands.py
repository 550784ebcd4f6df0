"""The commands about finished trials: what they print, and the files that they write."""

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import NetworkDescription, load_network, read_description, save_network
from branchfold.models.networks.factories import build_network
from branchfold.search.data.splits import load_test
from branchfold.search.exports.evaluation import evaluate_file
from branchfold.search.exports.held_out import Place


class TestExportAndEvaluate:
    def test_a_new_process_gives_the_accuracy_that_run_reported(self, finished, command_line):
        folder, (_, out, _) = finished
        command, environment = command_line
        done = subprocess.run(
            [*command, "evaluate", "tiny.safetensors"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        reported = [line for line in out.splitlines() if line.startswith(("accuracy: ", "MACs: "))]
        assert done.stdout.splitlines()[:2] == reported
        assert done.stdout.splitlines()[2].startswith("latency: ")
        assert re.search(
            r" % of the full network's latency of [\d.]+ ms, timed in turn \(", done.stdout.splitlines()[3]
        )
        assert done.stderr == ""

    @pytest.mark.usefixtures("quick_latency")
    def test_evaluate_as_json(self, finished, branchfold):
        with contextlib.chdir(finished[0]):
            found = json.loads(branchfold("evaluate", "tiny.safetensors", "--json").out)
            network = load_network("tiny.safetensors")
        assert found["data"] == "digits"
        assert found["full_macs"] == 153344
        assert found["parameters"] == sum(p.numel() for p in network.parameters())
        assert found["examples"] == 359
        assert found["milliseconds"] == 1.0
        assert found["latency"] == {
            "quartiles": [0.9, 1.2],
            "share": 0.5,
            "share_quartiles": [0.45, 0.55],
            "unsure": False,
            "rounds": 1,
            "threads": 1,
            "batch": 1,
            "full_milliseconds": None,
        }
        interval = binomtest(round(359 * found["value"]), 359).proportion_ci(method="wilson")
        assert found["interval"] == pytest.approx([interval.low, interval.high])

    @pytest.mark.usefixtures("quick_latency")
    def test_export_of_one_trial_as_a_plain_state_dict(self, copy, branchfold):
        done = branchfold("export", "tiny", "--trial", "1", "--format", "state-dict")
        assert done.status == 0, done
        assert done.out.splitlines()[-1] == "exported trial 1 to tiny-trial-1.pt"
        weights = torch.load("tiny-trial-1.pt", weights_only=True)
        assert branchfold("export", "tiny.toml", "--trial", "1", "--output", "deep/one.safetensors").status == 0
        network = load_network("deep/one.safetensors")
        assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
        assert weights.keys() == network.state_dict().keys()
        widths = read_description("deep/one.safetensors").widths
        assert {name: len(weights[f"{name}.weight"]) for name in widths} == widths
        assert not list(copy.glob(".*"))

    @pytest.mark.usefixtures("quick_latency")
    def test_export_takes_the_best_within_the_budget(self, copy, branchfold):
        done = branchfold("export", "tiny")
        rows = json.loads(branchfold("show", "tiny", "--json").out)
        best = max(rows, key=lambda row: row["metric"])["number"]
        assert done.out.splitlines()[-1] == f"exported trial {best} to tiny-trial-{best}.safetensors"
        assert Path(f"tiny-trial-{best}.safetensors").read_bytes() == Path("tiny.safetensors").read_bytes()

    @pytest.mark.usefixtures("quick_latency")
    def test_double_precision_networks(self, tmp_path):
        network = build_network("vgg_digits", {"width": 0.25}).double().eval()
        small = fold(add_branches(network, torch.zeros(2, 1, 8, 8).double(), keep=0.5, init="kaiming"))
        widths = {n: m.out_channels for n, m in small.named_modules() if hasattr(m, "out_channels")}
        description = NetworkDescription(
            factory="vgg_digits",
            arguments={"width": 0.25},
            input_shape=[1, 8, 8],
            widths=widths,
            data={"name": "digits", "mean": [0.3], "std": [0.4]},
            dtype="float64",
        )
        save_network(small, tmp_path / "d.safetensors", description)
        evaluation = evaluate_file(tmp_path / "d.safetensors", Place("data"), None)[1]
        split = load_test("digits")
        with torch.no_grad():
            found = small.eval()(((split.images / 255 - 0.3) / 0.4).double()).argmax(1)
        assert evaluation.value == pytest.approx(float((found == split.labels).double().mean()), abs=1e-9)
        assert evaluation.seed is None


class TestShow:
    def test_show(self, finished, branchfold):
        with contextlib.chdir(finished[0]):
            text = " ".join(branchfold("show", "tiny").out.split())
            rows = json.loads(branchfold("show", "tiny.toml", "--json").out)
        assert "study tiny" in text
        assert "accuracy at α = 0 on the 288 validation examples" in text
        for row in rows:
            assert row["state"] == "complete"
            assert f"{100 * row['metric']:.1f} %" in text
