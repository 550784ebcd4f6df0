"""What a narrow VGG-16's ONNX file is worth in onnxruntime: beside the full one's, with any widths and in eights.

python benchmarks/deployed.py                 VGG-16 for 32×32 images at 34 % of its channels, on one thread and on two
python benchmarks/deployed.py --output FILE   writes it as JSON too (benchmarks/deployed.json is what the docs show)

Weights are random: they do not change how long a pass takes. Run it on a quiet machine alone.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from branchfold.benchmarks.results import publish, surroundings
from branchfold.models import NetworkDescription, channel_groups
from branchfold.models.checkpoints import at_widths
from branchfold.models.cost import CostModel
from branchfold.models.networks.vgg import vgg16
from branchfold.search.exports.files.onnx_file import OPSET, write_onnx
from branchfold.search.exports.files.package import Package
from branchfold.search.trial.latency import compare_passes

SHARE = 0.34
SHAPE = [3, 32, 32]
BATCHES = (1, 64)
THREADS = (1, 2)
_SECONDS = 3.0


def widths_of(network: nn.Module, multiple: int) -> dict[str, int]:
    """Each free group's channels at the share: the nearest number that is a multiple."""
    groups = [group for group in channel_groups(network, torch.zeros(1, *SHAPE)) if group.prunable]
    return {group.name: max(multiple, multiple * round(SHARE * group.width / multiple)) for group in groups}


def write(network: nn.Module, path: Path) -> None:
    """The network as an ONNX file."""
    raw = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    write_onnx(Package(network.eval(), NetworkDescription("vgg16", {}, SHAPE), raw, raw.float()), path)


def session(path: Path, threads: int) -> Callable[[Tensor], Any]:
    """What runs a file on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    found = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: found.run(None, {"input": images.numpy()})


def compared(narrow: Path, full: Path, batch: int, threads: int) -> dict[str, Any]:
    """Medians of both, timed in turn, their ratio, and how the ratios of neighbouring passes spread."""
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((batch, *SHAPE), dtype=np.float32))
    found = compare_passes(session(narrow, threads), session(full, threads), (images,), seconds=_SECONDS)
    assert found.full_milliseconds is not None, "it was just measured"
    return {
        "batch": batch,
        "threads": threads,
        "milliseconds": found.milliseconds,
        "full_milliseconds": found.full_milliseconds,
        "ratio_of_medians": found.milliseconds / found.full_milliseconds,
        "share_quartiles": found.share_quartiles,
        "unsure": found.unsure,
    }


def measured(network: nn.Module, full: Path, multiple: int, folder: Path) -> dict[str, Any]:
    """A network at the share of its channels: its widths, cost, file and latencies."""
    widths = widths_of(network, multiple)
    costs = CostModel(network, torch.zeros(1, *SHAPE))
    cost, path = costs.cost(widths), folder / f"narrow-{multiple}.onnx"
    write(at_widths(network, SHAPE, widths), path)
    return {
        "multiple": multiple,
        "widths": list(widths.values()),
        "macs_share": cost.macs / costs.full.macs,
        "parameters_share": cost.parameters / costs.full.parameters,
        "bytes": path.stat().st_size,
        "latency": [compared(path, full, batch, threads) for threads in THREADS for batch in BATCHES],
    }


def main() -> None:
    """Prints the measurements as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="file for the JSON")
    output = parser.parse_args().output
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    network = vgg16()
    with tempfile.TemporaryDirectory() as name:
        full = Path(name) / "full.onnx"
        write(network, full)
        size = full.stat().st_size
        found = [measured(network, full, multiple, Path(name)) for multiple in (1, 8)]
    about = {"share_of_channels": SHARE, "opset": OPSET, "load_before": load, "full_bytes": size}
    publish({**surroundings("torch", "onnx", "onnxruntime"), **about, "networks": found}, output)


if __name__ == "__main__":
    main()
