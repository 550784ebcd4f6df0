"""The scripts in `examples/` run as they are, each in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ("own_data_module.py", "own_loop.py", "timm_on_a_folder.py")


def run(script, folder, *arguments):
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_folder(root):
    """JPEGs of two classes: brighter on the left, or on the right."""
    generator = torch.Generator().manual_seed(0)
    for part, count in {"train": 96, "validation": 32, "test": 32}.items():
        for number in range(count):
            pixels = torch.randint(0, 128, (40, 40, 3), generator=generator, dtype=torch.uint8)
            side = slice(0, 20) if number % 2 == 0 else slice(20, 40)
            pixels[:, side] += 100
            path = root / part / ("left", "right")[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(path)


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)


def test_the_whole_way_takes_forty_lines():
    assert len((EXAMPLES / "timm_on_a_folder.py").read_text().splitlines()) <= 40


@pytest.mark.slow
def test_own_data_module(tmp_path):
    told = run("own_data_module.py", tmp_path)
    assert float(told.splitlines()[-1]) > 0.8
    assert (tmp_path / "stripes.safetensors").is_file()
    assert (tmp_path / "stripes.md").is_file()


@pytest.mark.slow
def test_own_loop(tmp_path):
    told = run("own_loop.py", tmp_path)
    accuracy, kept, full = re.search(r"folded: ([\d.]+) with (\d+) of (\d+)", told).groups()
    assert float(accuracy) > 0.8
    assert int(kept) < 0.5 * int(full)


@pytest.mark.slow
def test_timm_on_a_folder(tmp_path):
    pytest.importorskip("timm")
    pytest.importorskip("onnxruntime")
    make_folder(tmp_path / "images")
    told = run("timm_on_a_folder.py", tmp_path, str(tmp_path / "images"))
    by_evaluate, by_onnxruntime = re.search(r"evaluate: ([\d.]+), onnxruntime: ([\d.]+)", told).groups()
    assert by_evaluate == by_onnxruntime
    assert float(by_evaluate) > 0.8
