"""The command line: what it prints, its files, and one line for every mistake."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import optuna
import pytest
import torch
from safetensors.torch import load_file, save_file

from branchfold.models import add_branches, fold
from branchfold.models.checkpoints import NetworkDescription, load_network, read_description, save_network
from branchfold.models.factories import build_network
from branchfold.search import delivery, workers
from branchfold.search.commands import as_arguments, as_shape, cli
from branchfold.search.data import load_test
from branchfold.search.delivery import evaluate_file
from branchfold.search.runner import Interrupted
from branchfold.studies.database import load_study, open_storage

COMMANDS = sorted(cli.commands)
URL = "sqlite:///studies/branchfold.db"
ROOT = Path(delivery.__file__).parents[1]

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


@pytest.fixture
def here(tmp_path, toml):
    """A working directory with the tiny study's definition."""
    (tmp_path / "tiny.toml").write_text(toml)
    with contextlib.chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def copy(finished, tmp_path):
    """A working directory with the finished study."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture
def refused(branchfold):
    """The one line of a command that is refused."""

    def call(*arguments):
        answer = branchfold(*arguments)
        assert answer.status == 2, answer
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        assert answer.err.endswith("\n")
        return answer.err.removeprefix("error: ").strip()

    return call


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

    @pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["run", "nosuch"]])
    def test_is_quick_and_imports_nothing_heavy(self, arguments):
        code = (
            "import sys\nfrom branchfold.search.commands import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print({'torch', 'optuna', 'numpy', 'pytorch_lightning', 'sklearn'} & set(sys.modules), file=sys.stderr)"
        )
        times = []
        for _ in range(3):
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
            )
            times.append(time.monotonic() - start)
            if times[-1] < 1:
                break
        assert done.stderr.endswith("set()\n")
        assert min(times) < 1

    def test_usage_errors_have_status_2(self, branchfold):
        for arguments in (["nosuch"], ["run"], ["run", "digits", "--workers", "0"], ["export", "d", "--format", "x"]):
            assert branchfold(*arguments).status == 2

    def test_usage_errors_of_a_number(self, branchfold):
        assert "--trials" in branchfold("run", "digits", "--trials", "none").err


class TestParsing:
    def test_arguments(self):
        assert as_arguments(("width=0.5", "num_classes=7", "name=x")) == {"width": 0.5, "num_classes": 7, "name": "x"}

    @pytest.mark.parametrize(("text", "shape"), [("3x224x224", (3, 224, 224)), ("1,8,9", (1, 8, 9)), (None, None)])
    def test_shape(self, text, shape):
        assert as_shape(text) == shape


class TestRun:
    def test_prints_the_result_and_exports_the_best(self, finished):
        folder, (_, out, err) = finished
        assert err == ""
        lines = out.splitlines()
        assert [line[:5] for line in lines if line.startswith("[")] == ["[1/3]", "[2/3]", "[3/3]"]
        study = load_study(open_storage(f"sqlite:///{folder}/studies/branchfold.db", create=False), "tiny")
        best = max(study.trials, key=lambda trial: trial.value)
        summary = lines[-6:]
        assert summary[0].startswith(f"best trial {best.number} (")
        assert f"{100 * best.value:.1f} % on 288 validation examples" in summary[0]
        description = read_description(folder / "tiny.safetensors")
        network = load_network(folder / "tiny.safetensors")
        accuracy = plain_test_accuracy(network, description)
        assert summary[1] == f"accuracy: {100 * accuracy:.1f} % on digits's test split (359 examples, seed 0)"
        macs, parameters = best.user_attrs["macs"], sum(p.numel() for p in network.parameters())
        assert summary[2].startswith(f"MACs: {macs:,} (")
        assert f"of 153,344), parameters: {parameters:,} (" in summary[2]
        assert summary[4].startswith("baseline: ")
        assert summary[5] == "exported tiny.safetensors"
        assert {entry["split"]: entry["accuracy"] for entry in description.accuracies} == {
            "validation": best.value,
            "test": pytest.approx(accuracy),
        }

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
            assert f"{trial.number}: {100 * trial.values[0]:.1f} % at {100 * share:.1f} %" in front
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
        assert f"{100 * found['accuracy']:.1f} % on digits's test" in done.out
        unasked = branchfold("evaluate", "tiny.safetensors")
        assert unasked.status == 2
        assert "name the factory (--factory user/net.py:make)" in unasked.err
        assert branchfold("evaluate", "tiny.safetensors", "--factory", "user/net.py:none").status == 2
        assert branchfold("inspect", "user/net.py:make", "--input", "1x8x8", "--set", "width=4").status == 0

    def test_stopping_has_its_own_exit_status(self, here, branchfold, monkeypatch):
        def stop(*args, **kwargs):
            raise Interrupted

        monkeypatch.setattr(workers, "run_study", stop)
        answer = branchfold("run", "tiny.toml")
        assert answer.status == 130
        assert "stopped: 0 of 3 trials are finished and kept" in answer.out

    def test_baseline_from_a_checkpoint(self, here, branchfold, quick_latency):
        torch.manual_seed(0)
        torch.save(build_network("vgg_digits", {"width": 0.25}).state_dict(), "full.pt")
        done = branchfold("run", "tiny.toml", "--trials", "1", "--set", "baseline.checkpoint=full.pt")
        assert done.status == 0
        assert "baseline (full.pt): " in done.out
        assert "baseline  epoch" not in done.out


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
        best = max(rows, key=lambda row: row["accuracy"])["number"]
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
        evaluation = evaluate_file(tmp_path / "d.safetensors", "data", None)[1]
        split = load_test("digits")
        with torch.no_grad():
            found = small.eval()(((split.images / 255 - 0.3) / 0.4).double()).argmax(1)
        assert evaluation.accuracy == pytest.approx(float((found == split.labels).double().mean()), abs=1e-9)
        assert evaluation.seed is None


class TestShowAndInspect:
    def test_show(self, finished, branchfold):
        with contextlib.chdir(finished[0]):
            text = " ".join(branchfold("show", "tiny").out.split())
            rows = json.loads(branchfold("show", "tiny.toml", "--json").out)
        assert "study tiny" in text
        assert "accuracy at α = 0 on the 288 validation examples" in text
        for row in rows:
            assert row["state"] == "complete"
            assert f"{100 * row['accuracy']:.1f} %" in text

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


class TestMistakes:
    """Each is one line on stderr, exit status 2, and leaves nothing half-written."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["run", "digit"], ["unknown study 'digit'", "did you mean digits"]),
            (["run", "none.toml"], ["no study definition at none.toml"]),
            (["run", "tiny.toml", "--set", "trial.epoch=3"], ["unknown key trial.epoch", "trial.epochs", "--set"]),
            (["run", "tiny.toml", "--set", "trial.epochs=0"], ["trial.epochs", "but got 0"]),
            (["run", "tiny.toml", "--set", "study.budget.macs=1.5"], ["study.budget.macs", "but got 1.5"]),
            (["run", "tiny.toml", "--set", "trials"], ["--set trials", "section.key=value"]),
            (["run", "tiny.toml", "--set", "data.name=cifar"], ["unknown data set 'cifar'", "cifar10"]),
            (["run", "tiny.toml", "--set", "model.widht=1"], ["no argument 'widht'", "width"]),
            (["run", "tiny.toml", "--set", "model.width=-1"], ["width", "-1"]),
            (["run", "tiny.toml", "--set", "data.limit=5"], ["limit=5 is too small"]),
            (["run", "tiny.toml", "--storage", "nonsense"], ["not a database URL", "sqlite:///"]),
            (["run", "tiny.toml", "--storage", "mongo://x/y"], ["unknown kind of database 'mongo'"]),
            (["run", "tiny.toml", "--storage", "sqlite:////proc/x/y.db"], ["cannot use the study database"]),
            (["run", "tiny.toml", "--storage", "sqlite:///tiny.toml"], ["not a database"]),
            (["run", "tiny.toml", "--output", "/proc/x/y.safetensors"], ["cannot write /proc/x/y", "--output"]),
            (["run", "tiny.toml", "--output", "tiny.toml/y"], ["cannot write tiny.toml/y", "tiny.toml is no folder"]),
            (["run", "tiny.toml", "--output", "."], ["cannot write .", "it is a folder"]),
            (["show", "tiny"], ["no study database", "branchfold run"]),
            (["export", "tiny"], ["no study database"]),
            (["dashboard"], ["no study database"]),
            (["dashboard", "--storage", "x"], ["not a database URL"]),
            (["evaluate", "none.safetensors"], ["there is no checkpoint none.safetensors"]),
            (["evaluate", "tiny.toml"], ["tiny.toml is not a whole safetensors file"]),
            (["inspect", "resnet21"], ["unknown network 'resnet21'", "resnet20"]),
            (["inspect", "torchvision:resnet"], ["torchvision has no network 'resnet'"]),
            (["inspect", "none.py:make"], ["no such file: 'none.py'"]),
            (["inspect", "vgg16", "--input", "3x32"], ["does not accept inputs of shape (1, 3, 32)"]),
            (["inspect", "vgg16", "--input", "3xax3"], ["--input 3xax3", "3x224x224"]),
            (["inspect", "vgg16", "--set", "width"], ["--set width", "width=0.25"]),
        ],
        ids=" ".join,
    )
    def test_without_a_study(self, here, refused, arguments, words):
        message = refused(*arguments)
        assert [word for word in words if word not in message] == []
        left = {path.name for path in here.rglob("*")} - {"tiny.toml"}
        database = {f"branchfold.db{suffix}" for suffix in ("", "-wal", "-shm")}
        assert left <= {"studies", "artifacts", *database}
        if "branchfold.db" in left:
            assert optuna.get_all_study_names(storage=open_storage(URL, create=False)) == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["show", "tine"], ["no study 'tine'", "did you mean tiny"]),
            (["export", "tine"], ["no study 'tine'"]),
            (["export", "tiny", "--trial", "9"], ["has no trial 9, only 0 to 2"]),
            (["export", "tiny", "--output", "tiny.toml/x"], ["tiny.toml is no folder"]),
            (["export", "tiny", "--output", "tiny.toml/x", "--format", "state-dict"], ["tiny.toml is no folder"]),
            (["export", "tiny", "--output", "studies"], ["it is a folder"]),
            (["run", "tiny.toml", "--set", "trial.epochs=3"], ["another definition: trial.epochs was 2 and is now 3"]),
            (["run", "tiny.toml", "--set", "study.seed=4"], ["study.seed was 0 and is now 4", "study.name=tiny-2"]),
        ],
        ids=" ".join,
    )
    def test_beside_a_study_nothing_is_lost(self, copy, branchfold, refused, arguments, words):
        before = branchfold("show", "tiny", "--json").out
        network = (copy / "tiny.safetensors").read_bytes()
        message = refused(*arguments)
        assert [word for word in words if word not in message] == []
        assert branchfold("show", "tiny", "--json").out == before
        assert (copy / "tiny.safetensors").read_bytes() == network
        assert not [path for path in copy.rglob("*") if path.name.startswith(".")]

    def test_study_without_a_finished_trial(self, here, branchfold, refused):
        diverging = ["--set", "space.training.lr=1e12", "--trials", "1"]
        message = refused("run", "tiny.toml", *diverging)
        assert message.startswith("study 'tiny' has no finished trial yet (1 stopped early)")
        assert refused("export", "tiny") == message
        assert "trial 0 of 'tiny' (pruned) kept no network" in refused("export", "tiny", "--trial", "0")
        assert branchfold("show", "tiny").status == 0

    def test_network_of_a_trial_that_is_gone(self, copy, refused):
        for file in (copy / "studies" / "artifacts").iterdir():
            file.unlink()
        assert "is missing: no artifact" in refused("export", "tiny")
        assert not list(copy.glob("tiny-trial*"))

    def test_damaged_checkpoints(self, copy, refused):
        content = Path("tiny.safetensors").read_bytes()
        for size in (0, 4, 200, len(content) - 8):
            Path("cut.safetensors").write_bytes(content[:size])
            assert "cut.safetensors is not a whole safetensors file" in refused("evaluate", "cut.safetensors")
        save_file(load_file("tiny.safetensors"), "bare.safetensors")
        assert "bare.safetensors holds no description" in refused("evaluate", "bare.safetensors")
        save_file(load_file("tiny.safetensors"), "odd.safetensors", metadata={"branchfold": "{"})
        assert "the description in odd.safetensors is damaged" in refused("evaluate", "odd.safetensors")
        weights = load_file("tiny.safetensors")
        weights["classifier.bias"] = torch.zeros(3)
        described = {"branchfold": json.dumps(read_description("tiny.safetensors").__dict__)}
        save_file(weights, "other.safetensors", metadata=described)
        assert "does not fit the network that vgg_digits builds" in refused("evaluate", "other.safetensors")

    def test_checkpoint_of_unknown_data(self, copy, refused):
        described = read_description("tiny.safetensors").__dict__
        weights = load_file("tiny.safetensors")
        for data, words in (
            ({}, "does not say which data"),
            ("digits", "does not say which data"),
            ({"name": "svhn", "mean": [0.5], "std": [0.5]}, "unknown data set 'svhn'"),
            ({"name": "digits", "mean": [0.5], "std": [0.0]}, "mean and std are damaged"),
            ({"name": "digits", "mean": ["a"], "std": [0.5]}, "mean and std are damaged"),
            ({"name": "digits", "mean": [0.5, 0.5], "std": [0.5]}, "mean and std must have 1 values"),
        ):
            save_file(weights, "x.safetensors", metadata={"branchfold": json.dumps({**described, "data": data})})
            assert words in refused("evaluate", "x.safetensors")
        save_file(weights, "x.safetensors", metadata={"branchfold": json.dumps({**described, "accuracies": [3]})})
        assert "accuracies are damaged" in refused("evaluate", "x.safetensors")

    def test_missing_data_of_a_checkpoint(self, copy, refused, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        described = read_description("tiny.safetensors").__dict__
        described = {**described, "data": {**described["data"], "name": "mnist"}}
        save_file(load_file("tiny.safetensors"), "m.safetensors", metadata={"branchfold": json.dumps(described)})
        message = refused("evaluate", "m.safetensors", "--data-root", "none")
        assert "mnist is not in" in message
        assert "--data-root" in message

    def test_untraceable_network_names_its_line(self, here, refused):
        (here / "net.py").write_text(
            "from torch import nn\n"
            "class Net(nn.Module):\n"
            "    def forward(self, x):\n"
            "        return x if x.sum() > 0 else -x\n"
        )
        assert "net.py:4 (`return x if x.sum() > 0 else -x`)" in refused("inspect", "net.py:Net", "--input", "1x8x8")

    def test_port_taken(self, finished, refused):
        with contextlib.chdir(finished[0]), socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            message = refused("dashboard", "--port", str(port))
        assert message.startswith(f"cannot listen on 127.0.0.1:{port}: ")
        assert "another --port" in message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_unwritable_folder(self, here, refused):
        (here / "locked").mkdir(mode=0o500)
        assert "Permission denied" in refused("run", "tiny.toml", "--output", "locked/x.safetensors")
