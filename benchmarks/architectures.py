"""Times finding groups, branching and folding, beside Torch-Pruning on the same networks, and how they grow with depth.

    pip install -e '.[benchmark]' && python benchmarks/architectures.py --output benchmarks/architectures.json

Each measurement is a process of its own, so that its peak memory is its own; the two libraries take turns. What is
compared: `channel_groups`, and `add_branches` + `fold`, with random branches and with `init="selection"`, which takes
channels by their weights as Torch-Pruning does, against building Torch-Pruning's graph (its pruner's constructor), and
that + pruning. Both keep half of the channels; outputs are never narrowed. The networks are torchvision's, and residual
chains of one width whose depth doubles: seconds a block that stay the same are linear time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from branchfold.benchmarks.results import publish, surroundings

NETWORKS = ("vgg16_bn", "resnet50", "mobilenet_v2", "densenet121")
CLASSES = 1000
DEPTHS = (16, 32, 64, 128)
KEEP = 0.5


class ResidualChain(nn.Module):
    """Blocks of one width: two convolutions with BatchNorm and a sum each."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(self._block(width) for _ in range(depth))
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(width, CLASSES)

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        def convolution() -> tuple[nn.Module, nn.Module]:
            return nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

        return nn.Sequential(*convolution(), nn.ReLU(inplace=True), *convolution())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.relu(x + block(x))
        return self.head(x.mean((2, 3)))


def network_and_example(name: str) -> tuple[nn.Module, Tensor]:
    """A torchvision network, or the residual chain of as many blocks as `residual-DEPTH` says."""
    kind, _, depth = name.partition("-")
    if kind == "residual":
        return ResidualChain(int(depth)).eval(), torch.randn(1, 3, 32, 32)
    return get_model(name, weights=None).eval(), torch.randn(1, 3, 224, 224)


def measure_branchfold(name: str, init: str = "kaiming") -> dict[str, float]:
    """Seconds of each step, and the process's peak memory."""
    from branchfold.models import add_branches, channel_groups, fold

    network, example = network_and_example(name)
    before = peak_megabytes()
    marks = [time.perf_counter()]
    channel_groups(network, example)
    marks.append(time.perf_counter())
    branched = add_branches(network, example, keep=KEEP, init=init)
    marks.append(time.perf_counter())
    fold(branched)
    marks.append(time.perf_counter())
    groups, branch, folding = (b - a for a, b in pairwise(marks))
    return {
        "graph_s": groups,
        "branch_s": branch,
        "fold_s": folding,
        "total_s": branch + folding,
        "peak_mb": peak_megabytes() - before,
    }


def measure_torch_pruning(name: str) -> dict[str, float]:
    """Seconds of each step, and the process's peak memory."""
    import torch_pruning

    network, example = network_and_example(name)
    ignored = [layer for layer in network.modules() if getattr(layer, "out_features", 0) == CLASSES]
    before = peak_megabytes()
    marks = [time.perf_counter()]
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=1),
        pruning_ratio=1 - KEEP,
        ignored_layers=ignored,
    )
    marks.append(time.perf_counter())
    pruner.step()
    marks.append(time.perf_counter())
    graph, prune = (b - a for a, b in pairwise(marks))
    return {"graph_s": graph, "prune_s": prune, "total_s": graph + prune, "peak_mb": peak_megabytes() - before}


def peak_megabytes() -> float:
    """This process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


MEASUREMENTS: dict[str, Callable[[str], dict[str, float]]] = {
    "branchfold": measure_branchfold,
    "branchfold_selection": partial(measure_branchfold, init="selection"),
    "torch_pruning": measure_torch_pruning,
}


def in_a_process(library: str, name: str, threads: int) -> dict[str, float]:
    """One measurement in a fresh process, whose waiting threads spin briefly, as those of a study do."""
    command = [sys.executable, __file__, "--one", library, name, "--threads", str(threads)]
    environment = {**os.environ, "GOMP_SPINCOUNT": "1000"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    result: dict[str, float] = json.loads(answer.splitlines()[-1])
    return result


def compare(name: str, runs: int, threads: int) -> dict[str, Any]:
    """Medians of both libraries, taking turns, and their ratios."""
    rows: dict[str, list[dict[str, float]]] = {library: [] for library in MEASUREMENTS}
    for _ in range(runs):
        for library, measured in rows.items():
            measured.append(in_a_process(library, name, threads))
    medians = {
        library: {key: statistics.median(row[key] for row in measured) for key in measured[0]}
        for library, measured in rows.items()
    }
    theirs = medians["torch_pruning"]
    ratios = {
        library: {key: ours[key] / theirs[key] for key in ("graph_s", "total_s", "peak_mb")}
        for library, ours in medians.items()
        if ours is not theirs
    }
    return {**medians, "ratios": ratios}


def growth(runs: int, threads: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a block of both libraries on residual chains, by depth."""
    chains = {depth: compare(f"residual-{depth}", runs, threads) for depth in DEPTHS}
    return {
        library: {
            str(depth): {
                key.removesuffix("_s"): 1000 * value / depth
                for key, value in chain[library].items()
                if key.endswith("_s")
            }
            for depth, chain in chains.items()
        }
        for library in MEASUREMENTS
    }


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "NETWORK"), help="one measurement in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        library, name = options.one
        print(json.dumps(MEASUREMENTS[library](name)))
        return
    result = {
        "runs": options.runs,
        "threads": options.threads,
        **surroundings("torch", "torchvision", "torch-pruning"),
        "networks": {name: compare(name, options.runs, options.threads) for name in NETWORKS},
        "milliseconds_a_block": growth(options.runs, options.threads),
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
