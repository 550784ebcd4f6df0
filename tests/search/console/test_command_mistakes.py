"""Mistakes on the command line: each is one line on stderr, exit status 2, and leaves nothing half-written."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from safetensors.torch import load_file, save_file

from branchfold.models.checkpoints import load_network, read_description, save_network
from branchfold.search.console import commands
from branchfold.search.data import opening
from branchfold.studies.database.companions import SCREENING, open_companion
from branchfold.studies.database.storage import load_study, open_storage

URL = "sqlite:///studies/branchfold.db"


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["run", "digit"], ["unknown study 'digit'", "did you mean digits"]),
            (["run", "none.toml"], ["no study definition at none.toml"]),
            (["run", "tiny.toml", "--set", "trial.epoch=3"], ["unknown key trial.epoch", "trial.epochs", "--set"]),
            (["run", "tiny.toml", "--set", "trial.epochs=0"], ["trial.epochs", "but got 0"]),
            (["run", "tiny.toml", "--set", "study.budget.macs=1.5"], ["study.budget.macs", "but got 1.5"]),
            (["run", "tiny.toml", "--set", "trials"], ["--set trials", "section.key=value"]),
            (
                ["run", "tiny.toml", "--set", "data.name=cifar"],
                ["data.name must be one of", '"cifar"; did you mean cifar10?'],
            ),
            (
                ["run", "tiny.toml", "--set", "model.factory=vgg61"],
                ["--set model.factory=vgg61: ", "did you mean vgg16?"],
            ),
            (["run", "tiny.toml", "--trials", "2", "--set", "study.trials=x"], ["--set study.trials=x: study.trials"]),
            (["run", "tiny.toml", "--set", "model.widht="], ["--set model.widht=: ", "did you mean width?"]),
            (["run", "tiny.toml", "--set", "study.name="], ["--set study.name=: study.name is missing"]),
            (
                ["run", "tiny.toml", "--set", "space.keep.multiple=1000"],
                ["--set space.keep.multiple=1000: ", "such as 8"],
            ),
            (
                ["run", "tiny.toml", "--set", "space.keep.range={low=0.9,high=1.0}"],
                ["allows no network within", "lower"],
            ),
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
            (
                ["evaluate", "tiny.toml"],
                ["tiny.toml is not a whole safetensors file", "`branchfold export` writes one"],
            ),
            (["evaluate", "."], [". is a folder and no checkpoint"]),
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
        assert message.startswith("study 'tiny' has no trial that ran to its end (1 stopped early)")
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
        description, network = read_description("tiny.safetensors"), load_network("tiny.safetensors")
        for data, words in (
            ({}, "does not say which data"),
            ("digits", "does not say which data"),
            ({"name": "svhn", "mean": [0.5], "std": [0.5]}, "unknown data set 'svhn'"),
            ({"name": "digits", "mean": [0.5], "std": [0.0]}, "mean and std are damaged"),
            ({"name": "digits", "mean": ["a"], "std": [0.5]}, "mean and std are damaged"),
            ({"name": "digits", "mean": [0.5, 0.5], "std": [0.5]}, "mean and std must have 1 values"),
        ):
            save_network(network, "x.safetensors", replace(description, data=data))
            assert words in refused("evaluate", "x.safetensors")
        save_network(network, "x.safetensors", replace(description, metrics=[3]))
        assert "metrics are damaged" in refused("evaluate", "x.safetensors")

    def test_missing_data_of_a_checkpoint(self, copy, refused, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        description = read_description("tiny.safetensors")
        description = replace(description, data={**description.data, "name": "mnist"})
        save_network(load_network("tiny.safetensors"), "m.safetensors", description)
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

    @pytest.mark.parametrize("arguments", [["run"], ["nope"], ["run", "digits", "--trials", "0"], ["show", "x", "--y"]])
    def test_usage_is_one_line_too(self, here, refused, arguments):
        assert refused(*arguments)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ("space.schedule.shape=cosin", "did you mean cosine?"),
            ("space.schedule.knee.treshold=0.1", "did you mean space.schedule.knee.threshold?"),
            ("space.schedule.knee.threshold=1.5", "knee's threshold must be a finite number above 0 and below 1"),
            ("data.name=digts", "did you mean digits?"),
            ("model.factory=vgg_digit", "did you mean vgg_digits?"),
        ],
    )
    def test_names_that_are_known_without_torch_are_checked_before_it_is_imported(self, here, change, expected):
        code = (
            "import sys; from branchfold.search.console.commands import main\n"
            "try:\n    main()\nfinally:\n    print(sorted({'torch', 'optuna', 'numpy'} & set(sys.modules)))"
        )
        command = [sys.executable, "-c", code, "run", "tiny.toml", "--set", change]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (2, "[]\n")
        assert result.stderr.startswith(f"error: --set {change}: ")
        assert expected in result.stderr

    def test_a_misspelt_group_is_told_before_data_is_read(self, here, refused, toml, monkeypatch):
        monkeypatch.setattr(opening, "load_data", lambda *args, **kwargs: pytest.fail("data was read"))
        (here / "tiny.toml").write_text(toml + '[space.keep]\nlayers."features.2" = 0.5\n')
        assert refused("run", "tiny.toml", "--trials", "4").startswith(
            'tiny.toml: space.keep.layers."features.2": no group'
        )

    def test_a_network_by_code_of_ones_own_is_told_with_the_commands_option(self, copy, refused):
        description, network = read_description("tiny.safetensors"), load_network("tiny.safetensors")
        save_network(network, "own.safetensors", replace(description, factory="my nets/net.py:make"))
        message = refused("evaluate", "own.safetensors")
        told = "not run unasked: name it, branchfold evaluate own.safetensors --factory 'my nets/net.py:make'"
        assert message.endswith(told)
        own = {"data": {**description.data, "name": "a.py:make"}, "task": {"name": "a.py:Task"}}
        save_network(network, "own.safetensors", replace(description, factory="my nets/net.py:make", **own))
        assert refused("evaluate", "own.safetensors").endswith(f"{told} --data a.py:make --task a.py:Task")
        message = refused("export", "own.safetensors", "--factory", "vgg_digits", "--format", "pt2")
        assert message.endswith(
            "branchfold export own.safetensors --factory vgg_digits --data a.py:make --task a.py:Task"
        )

    def test_a_mistake_in_the_definition_leaves_no_database(self, here, refused):
        for change in ("study.budget={macs=1e-4}", "model.factory='none'", "data.name='none'", "model.num_classes=3"):
            refused("run", "tiny.toml", "--set", change)
        assert not list(here.rglob("*.db"))

    def test_an_interrupt_before_the_work_is_told_and_no_traceback(self, branchfold, monkeypatch):
        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(commands.cli, "main", interrupted)
        assert branchfold("run", "digits") == (130, "stopped\n", "")

    def test_a_screening_has_no_trials_to_export(self, copy, refused):
        storage = open_storage(URL, create=False)
        minimise = [optuna.study.StudyDirection.MINIMIZE]
        open_companion(
            storage, load_study(storage, "tiny"), SCREENING, directions=minimise, metrics=["loss"], told=print
        )
        for command in (["export"], ["export", "--trial", "0"], ["rerun", "--trial", "0"], ["refine", "--epochs", "1"]):
            message = refused(command[0], "tiny-screening", *command[1:])
            assert message.endswith("holds widths that were judged untrained; the trials are those of 'tiny'")

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


@pytest.mark.parametrize("command", [("run", "tiny.toml", "--trials", "4"), ("rerun", "tiny", "--trial", "0"),
                                     ("refine", "tiny", "--epochs", "1")])  # fmt: skip
def test_a_device_that_is_not_there(copy, refused, command):
    line = refused(*command, "--device", "cuda:63")
    assert line.startswith("trial.device = 'cuda:63' is not there: this machine has cpu")
