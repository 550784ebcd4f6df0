"""Mistakes that are told before torch is imported."""

import json
import subprocess
import sys

import pytest

from branchfold.errors import NetworkError
from branchfold.search.console.early import check_files

# Each command in turn in one process: the error's line, and whether torch was imported for it.
PROGRAM = """
import json, sys
from branchfold.search.console import commands
for arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    try:
        commands.main()
    except SystemExit as end:
        print(end.code, "torch" in sys.modules, file=sys.stderr)
"""


def told_early(command_line, *commands):
    """The lines about mistakes, one for each command; torch was imported for none of them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        env=command_line[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    assert lines[1::2] == ["2 False"] * len(commands)
    return [line.removeprefix("error: ") for line in lines[::2]]


def test_before_there_is_a_study(here, command_line):
    (here / "own.safetensors").write_text("not branchfold's")
    (here / "own.txt").write_text("not branchfold's")
    found = told_early(
        command_line,
        ["run", "tiny.toml", "--output", "own.safetensors"],
        ["run", "tiny.toml", "--output", "own.txt"],
        ["run", "tiny.toml", "--set", "data.name=folder", "--set", "data.root=none"],
        ["run", "tiny.toml", "--set", "model.factory=none.py:make"],
        ["run", "tiny.toml", "--set", "data.name=none.py:make"],
        ["run", "tiny.toml", "--set", "task.name=none.py:Task", "--set", 'study.objectives=["metric"]'],
        ["run", "tiny.toml", "--set", "baseline.checkpoint=none.pt"],
        ["run", "tiny.toml", "--storage", "nonsense"],
        ["show", "tiny"],
        ["export", "tiny", "--format", "onnx"],
        ["evaluate", "none.safetensors"],
        ["evaluate", "own.safetensors", "--task", "none.py:Task"],
        ["inspect", "resnet21"],
        ["inspect", "vgg16", "--data", "cifar"],
        ["inspect", "vgg16", "--data", "."],
        ["init", "vgg16", "--data", "none"],
        ["init", "vgg16", "--data", "none.py:make"],
        ["init", "vgg16", "--data", "digits", "--checkpoint", "none.pt"],
    )
    words = [
        "cannot write own.safetensors: it is there, and no network that branchfold wrote",
        "cannot write own.txt: it is there",
        "none' is no folder",
        "no such file: ",
        "no such file: ",
        "no such file: ",
        "there is no checkpoint ",
        "the storage is not a database URL",
        "no study database at ",
        "no study database at ",
        "there is no checkpoint none.safetensors",
        "no such file: 'none.py'",
        "unknown network 'resnet21'; did you mean resnet20?",
        "unknown data set 'cifar'; did you mean cifar10?",
        ". is a folder, but a data set's name is wanted",
        "no folder 'none'",
        "no such file: 'none.py'",
        "there is no checkpoint none.pt",
    ]
    assert [(line, word) for line, word in zip(found, words, strict=True) if word not in line] == []


def test_beside_a_study(copy, command_line):
    found = told_early(
        command_line,
        ["show", "tine"],
        ["export", "tiny", "--trial", "9"],
        ["export", "tiny", "--output", "tiny.toml"],
        ["rerun", "tiny", "--trial", "9"],
        ["refine", "tiny", "--epochs", "3", "--output", "tiny.toml"],
    )
    words = [
        "did you mean tiny?",
        "has no trial 9",
        "cannot write tiny.toml",
        "has no trial 9",
        "cannot write tiny.toml",
    ]
    assert [(line, word) for line, word in zip(found, words, strict=True) if word not in line] == []


def test_a_checkpoint_that_was_read_may_be_gone(define):
    """Its weights are the study's baseline by then."""
    definition = define(baseline={"checkpoint": "/none/net.pt", "epochs": None})
    check_files(definition, is_new=False)
    with pytest.raises(NetworkError, match=r"there is no checkpoint /none/net\.pt"):
        check_files(definition, is_new=True)
