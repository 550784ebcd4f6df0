"""What of each torchvision family can be narrowed, and why the rest cannot.

python benchmarks/families.py          one network of each family: what is narrowed, what is fixed and why, as JSON
                                       (--output benchmarks/families.json is what docs/networks.md shows)
python benchmarks/families.py --all    every classifier, cut to half and folded: how exact that is, or why not
"""

import argparse
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torchvision import models
from torchvision.models import get_model

from branchfold.benchmarks.exactness import Exactness, exactness
from branchfold.benchmarks.results import publish, surroundings
from branchfold.errors import NetworkError
from branchfold.models.channels.groups import Analysis
from branchfold.models.layers.kinds import CONVOLUTIONS

# One network of each family, with the smallest input (pixels) that it takes without trouble.
FAMILIES = {
    "alexnet": 96,
    "convnext_tiny": 64,
    "deeplabv3_mobilenet_v3_large": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "fcn_resnet50": 64,
    "googlenet": 64,
    "inception_v3": 299,
    "lraspp_mobilenet_v3_large": 64,
    "maxvit_t": 224,
    "mnasnet1_0": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x1_0": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "vgg11_bn": 64,
    "vit_b_16": 224,
}
REASONS = {
    "it is the network's output": "output",
    "groups": "grouped convolution",
    "no layer writes": "weights outside a layer, or what attention yields",
    "mixes channels": "LayerNorm, softmax",
    "number of channels": "code that reads the channel count",
    "hard-codes or rearranges": "code that rearranges its shape",
}


def narrowed(name: str, pixels: int) -> dict[str, Any]:
    """What of a network can be narrowed, and the reasons of the groups that cannot, with their counts."""
    backbone = {"weights_backbone": None} if name.startswith(("fcn", "deeplab", "lraspp")) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two networks warn of how their weights are drawn
        network = get_model(name, weights=None, **backbone).eval()
    try:
        analysis = Analysis.of(network, torch.randn(2, 3, pixels, pixels))
    except NetworkError as error:
        return {"refused": str(error)}
    free = [group for group in analysis.groups if group.prunable]
    reasons = Counter(_short(group.reason) for group in analysis.groups if not group.prunable)
    return {
        "groups": len(analysis.groups),
        "free": len(free),
        "share_of_channels": _share_of_channels(analysis),
        "fixed": dict(reasons.most_common()),
    }


def _share_of_channels(analysis: Analysis) -> float:
    graph = analysis.graph
    free = total = 0
    for path, layer in graph.traced.modules.items():
        if isinstance(layer, CONVOLUTIONS):
            total += layer.out_channels
            free += layer.out_channels * _can_be_narrowed(path, analysis)
    return free / total if total else 0.0


def _can_be_narrowed(path: str, analysis: Analysis) -> bool:
    graph = analysis.graph
    nodes = [node for node in graph.roles if node.op == "call_module" and node.target == path]
    return bool(nodes) and all(not root.reason for node in nodes for root in graph.layouts[node].roots())


def _short(reason: str) -> str:
    # Where a library lies on this machine says nothing to others.
    placed = re.sub(r"/\S*/(?=[^/\s]+\.py:\d+)", "", reason)
    return next((short for part, short in REASONS.items() if part in reason), placed)


def summary(found: dict[str, Exactness]) -> Iterable[str]:
    """The lines of a table with a row for each family, and one for all."""
    families: dict[str, list[Exactness]] = defaultdict(list)
    for name, result in found.items():
        families[_family(name)].append(result)
    yield "| family | networks | fold exactly | groups narrowed | largest error | otherwise |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for family, results in families.items():
        yield _summary_row(family, results)
    yield _summary_row("all", list(found.values()))


def _family(name: str) -> str:
    return re.split(r"_|\d", name.removeprefix("wide_"))[0]


def _summary_row(family: str, results: list[Exactness]) -> str:
    exact = [result for result in results if not result.reason]
    reasons = Counter(result.reason for result in results if result.reason)
    narrowed, groups = sum(result.narrowed for result in exact), sum(result.groups for result in exact)
    errors = (
        f"{max(result.error for result in exact if result.dtype == dtype):.0e} in {str(dtype).removeprefix('torch.')}"
        for dtype in sorted({result.dtype for result in exact}, key=str, reverse=True)
    )
    why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"| {family} | {len(results)} | {len(exact)} | {narrowed} of {groups} | {', '.join(errors)} | {why} |"


def _print_exactness(names: list[str]) -> None:
    """Each network in a process of its own, which gives all of its memory back."""
    found = {}
    processes = ProcessPoolExecutor(
        1, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,), max_tasks_per_child=1
    )
    with processes:
        for name, result in zip(names, processes.map(exactness, names), strict=True):
            found[name] = result
            print(f"{name}: {result}", file=sys.stderr, flush=True)
    for line in summary(found):
        print(line)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="names of torchvision networks")
    parser.add_argument("--all", action="store_true", help="fold every classifier, or those that are named")
    parser.add_argument("--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.all:
        _print_exactness(arguments.networks or models.list_models(module=models))
    else:
        names = arguments.networks or list(FAMILIES)
        found = {name: narrowed(name, FAMILIES.get(name, 224)) for name in names}
        publish({**surroundings("torch", "torchvision"), "networks": found}, arguments.output)


if __name__ == "__main__":
    main()
