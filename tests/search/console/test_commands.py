"""The command line: its help, running and resuming studies, inspecting networks."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import torch

from branchfold.models.checkpoints import load_network, read_description
from branchfold.models.networks.factories import build_network
from branchfold.search.console import commands
from branchfold.search.console.commands import cli
from branchfold.search.data.splits import load_test
from branchfold.search.run import processes as workers
from branchfold.studies.database.storage import load_study, open_storage

COMMANDS = sorted(cli.commands)
ROOT = Path(commands.__file__).parents[2]

OWN = """
from models.blocks import Block
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.block, self.head = Block(width), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.block(x).mean((2, 3)))


def make(width=12):
    return Net(width)
"""
BLOCK = """
from torch import nn


class Block(nn.Sequential):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3)
        )
"""


def proportion_interval(right, examples):
    """Wilson's interval in closed form."""
    z, p = 1.959963984540054, right / examples
    middle = p + z**2 / (2 * examples)
    half = z * math.sqrt(p * (1 - p) / examples + z**2 / (4 * examples**2))
    return tuple((middle + side * half) / (1 + z**2 / examples) for side in (-1, 1))


def plain_test_accuracy(network, description):
    split = load_test("digits")
    mean, std = (torch.tensor(description.data[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        found = network((split.images / 255 - mean) / std).argmax(1)
    return float((found == split.labels).double().mean())


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_a_sentence_an_example_and_a_place_in_the_readme(self, name):
        text = cli.commands[name].help
        assert text.split("\n")[0].endswith(".")
        example = text.split("Example: ")[1].split("\n")[0]
        assert example.startswith(f"branchfold {name}")
        assert f"branchfold {name}" in (ROOT / "README.md").read_text()
        # The example is one that the command would take.
        cli.commands[name].make_context(name, example.split()[2:])

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_option_is_told(self, name):
        options = [p for p in cli.commands[name].params if isinstance(p, click.Option)]
        assert [o.name for o in options if not o.help and o.name not in ("form", "port")] == []

    def test_what_is_done_is_said_before_torch_is_imported(self, here):
        code = (
            "import sys, os\nfrom branchfold.search.console import terminal\n"
            "said = terminal.print_line\n"
            "def print_line(console, text):\n"
            "    said(console, text)\n"
            "    os._exit({'torch', 'optuna', 'numpy'} & set(sys.modules) != set())\n"
            "terminal.print_line = print_line\n"
            "from branchfold.search.console.commands import main\nmain()"
        )
        for arguments in (["run", "tiny.toml"], ["rerun", "tiny", "--trial", "0"], ["refine", "tiny", "--epochs", "1"]):
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
            )
            assert done.stdout == "study tiny: loading torch …\n"

    @pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["run", "nosuch"]])
    def test_is_quick_and_imports_nothing_heavy(self, arguments):
        code = (
            "import sys\nfrom branchfold.search.console.commands import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print({'torch', 'optuna', 'numpy', 'pytorch_lightning', 'sklearn'} & set(sys.modules), file=sys.stderr)"
        )
        times = []
        for _ in range(3):
            start = os.times()  # of the core, which a loaded machine gives late but not less of
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
            )
            end = os.times()
            times.append(end.children_user + end.children_system - start.children_user - start.children_system)
            if times[-1] < 1:
                break
        assert done.stderr.endswith("set()\n")
        assert min(times) < 1

    def test_usage_errors_have_status_2(self, branchfold):
        for arguments in (["nosuch"], ["run"], ["run", "digits", "--workers", "0"], ["export", "d", "--format", "x"]):
            assert branchfold(*arguments).status == 2

    def test_usage_errors_of_a_number(self, branchfold):
        assert "--trials" in branchfold("run", "digits", "--trials", "none").err


class TestRun:
    def test_prints_the_result_and_exports_the_best(self, finished):
        folder, (_, out, err) = finished
        assert err == ""
        lines = out.splitlines()
        assert lines[0] == "study tiny: loading torch …"
        assert lines[1] == "training on the CPU with 1 thread"
        assert lines[2].startswith("trials learn from the baseline's outputs too, with weight 0.5, ")
        assert lines[3] == "baseline  training for 4 epochs"
        assert lines[4].startswith(
            "the baseline's outputs for the 320 training images are computed, once for all trials"
        )
        assert lines[5].startswith("baseline (4 epochs): ")
        assert len(lines) == 6 + 3 + 10
        assert [line[:5] for line in lines if line.startswith("[")] == ["[1/3]", "[2/3]", "[3/3]"]
        study = load_study(open_storage(f"sqlite:///{folder}/studies/branchfold.db", create=False), "tiny")
        best = max(study.trials, key=lambda trial: trial.value)
        summary = lines[-10:]
        assert summary[0].startswith(f"best trial {best.number} (")
        assert f"): {100 * best.value:.1f} %, selected among 3 on 288 validation examples" in summary[0]
        description = read_description(folder / "tiny.safetensors")
        network = load_network(folder / "tiny.safetensors")
        accuracy = plain_test_accuracy(network, description)
        low, high = proportion_interval(round(359 * accuracy), 359)
        assert summary[1] == (
            f"accuracy: {100 * accuracy:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %) "
            f"on digits's test split (359 examples, seed 0)"
        )
        macs, parameters = best.user_attrs["macs"], sum(p.numel() for p in network.parameters())
        assert summary[2].startswith(f"MACs: {macs:,} (")
        assert f"of 153,344), parameters: {parameters:,} (" in summary[2]
        assert summary[3] == (
            f"latency: 1.000 ms in torch {version('torch')} for one example on one thread "
            f"(interquartile range 0.900 to 1.200)"
        )
        assert summary[4] == (
            "50.0 % of the full network's latency, timed in turn (interquartile range 45.0 to 55.0 %)"
        )
        assert re.fullmatch(r"baseline: \S+ % \(95 % interval .*\) on the same 359 test examples", summary[5])
        assert summary[6] == "exported tiny.safetensors"
        assert description.metrics == [
            {
                "split": "validation",
                "metric": "accuracy",
                "value": best.value,
                "examples": 288,
                "seed": 0,
                "selected_among": 3,
            },
            {
                "split": "test",
                "metric": "accuracy",
                "value": pytest.approx(accuracy),
                "examples": 359,
                "interval": pytest.approx([low, high]),
                "seed": 0,
            },
        ]

    @pytest.mark.usefixtures("quick_latency")
    def test_again_adds_nothing_and_more_trials_the_difference(self, copy, branchfold):
        before = branchfold("show", "tiny", "--json").out
        again = branchfold("run", "tiny.toml")
        assert again.status == 0
        assert "study tiny has 3 trials finished of 3" in again.out
        assert branchfold("show", "tiny", "--json").out == before
        more = branchfold("run", "tiny.toml", "--trials", "4", "--output", "new/best.safetensors")
        assert "[4/4] trial 3" in more.out
        assert "baseline (from an earlier run)" in more.out
        assert Path("new/best.safetensors").is_file()
        assert len(json.loads(branchfold("show", "tiny", "--json").out)) == 4

    @pytest.mark.usefixtures("quick_latency")
    def test_two_objectives_print_their_front(self, here, branchfold):
        done = branchfold(
            "run", "tiny.toml", "--set", 'study.objectives=["accuracy", "macs"]', "--set", "study.budget={}"
        )
        assert done.status == 0, done
        (front,) = [line for line in done.out.splitlines() if line.startswith("Pareto front")]
        study = load_study(open_storage(f"sqlite:///{here}/studies/branchfold.db", create=False), "tiny")
        for trial in study.best_trials:
            share = trial.user_attrs["macs_share"]
            assert f"{trial.number}: {100 * trial.values[0]:.1f} %, {100 * share:.1f} %" in front
        rows = json.loads(branchfold("show", "tiny", "--json").out)
        assert [row["reports"] for row in rows] == [2, 2, 2]

    @pytest.mark.usefixtures("quick_latency")
    def test_own_factory_whose_folder_has_a_models_package(self, here, branchfold):
        (here / "user" / "models").mkdir(parents=True)
        (here / "user" / "net.py").write_text(OWN)
        (here / "user" / "models" / "__init__.py").write_text("")
        (here / "user" / "models" / "blocks.py").write_text(BLOCK)
        text = (here / "tiny.toml").read_text().replace('"vgg_digits"', '"user/net.py:make"')
        (here / "own.toml").write_text(text.replace("width = 0.25", "width = 10").replace("0.25 }", "0.5 }"))
        done = branchfold("run", "own.toml", "--trials", "1")
        assert done.status == 0, done
        answer = branchfold("evaluate", "tiny.safetensors", "--factory", "user/net.py:make", "--json")
        found = json.loads(answer.out)
        assert found["full_macs"] == 9 * (10 * 36 + 100 * 16) + 100
        assert found["macs"] <= found["full_macs"] / 2
        assert f"accuracy: {100 * found['value']:.1f} % (95 % interval" in done.out
        unasked = branchfold("evaluate", "tiny.safetensors")
        assert unasked.status == 2
        assert f"--factory {here.resolve()}/user/net.py:make" in unasked.err
        assert branchfold("evaluate", "tiny.safetensors", "--factory", "user/net.py:none").status == 2
        assert branchfold("inspect", "user/net.py:make", "--input", "1x8x8", "--set", "width=4").status == 0

    @pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
    def test_each_signal_has_its_own_exit_status(self, here, branchfold, monkeypatch, number, status):
        def stop(*args, **kwargs):
            signal.raise_signal(signal.Signals[number])

        monkeypatch.setattr(workers, "_has_study", stop)
        answer = branchfold("run", "tiny.toml")
        assert answer.status == status
        assert "stopped: 0 of 3 trials are finished and kept; the same command goes on from here" in answer.out

    @pytest.mark.usefixtures("quick_latency")
    def test_quiet_prints_the_result_alone(self, copy, branchfold):
        lines = branchfold("run", "tiny.toml", "--quiet", "--trials", "4").out.splitlines()
        assert [line.split()[0] for line in lines if not line[0].isdigit()] == [
            "best",
            "accuracy:",
            "MACs:",
            "latency:",
            "baseline:",
            "exported",
            "won:",
            "sure:",
            "next:",
        ]
        assert "of the full network's" in lines[4]

    def test_baseline_from_a_checkpoint(self, here, branchfold, quick_latency):
        torch.manual_seed(0)
        torch.save(build_network("vgg_digits", {"width": 0.25}).state_dict(), "full.pt")
        done = branchfold("run", "tiny.toml", "--trials", "1", "--set", "baseline.checkpoint=full.pt")
        assert done.status == 0
        assert f"baseline ({here.resolve()}/full.pt): " in done.out
        assert "baseline  epoch" not in done.out


class TestInspect:
    @pytest.mark.parametrize(
        ("arguments", "shape", "parameters"),
        [
            (["vgg16", "--set", "width=0.25"], [3, 32, 32], None),
            (["torchvision:resnet18"], [3, 224, 224], 11_689_512),  # torchvision's documentation
            (["torchvision:resnet18", "--set", "num_classes=7", "--input", "3x65x64"], [3, 65, 64], None),
        ],
    )
    def test_inspect_as_json(self, branchfold, arguments, shape, parameters):
        found = json.loads(branchfold("inspect", *arguments, "--json").out)
        assert found["input"] == shape
        assert parameters in (None, found["parameters"])
        assert any(group["prunable"] for group in found["groups"])
        assert all(group["reason"] for group in found["groups"] if not group["prunable"])

    def test_inspect_a_users_file(self, here, branchfold):
        (here / "net.py").write_text(
            "from torch import nn\n"
            "def make(width=4):\n"
            "    return nn.Sequential(nn.Conv2d(2, width, 3), nn.ReLU(), nn.Conv2d(width, 3, 1))\n"
        )
        text = branchfold("inspect", "net.py:make", "--set", "width=6", "--input", "2x7x9").out
        macs = 5 * 7 * (2 * 6 * 9 + 6 * 3)
        assert f"net.py:make: input 2×7×9, {macs:,} MACs, {2 * 6 * 9 + 6 + 18 + 3} parameters" in text
