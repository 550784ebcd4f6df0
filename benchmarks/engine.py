"""Times the engine on VGG-16 for CIFAR: adding branches, folding, the branched training step, the folded network.

    python benchmarks/engine.py --width 0.25 --keep 0.34 --output benchmarks/engine.json

Two things that are compared run alternately in one process; what is printed is the ratio of their medians, with the
quartiles of the ratios of neighbouring runs beside it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from branchfold.benchmarks.results import publish, surroundings
from branchfold.models import add_branches, fold
from branchfold.models.cost import CostModel, count_macs
from branchfold.models.networks.vgg import vgg16


def seconds_of(action: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternately(first: Callable[[], Any], second: Callable[[], Any], runs: int) -> tuple[list[float], list[float]]:
    """Seconds of `runs` calls of each, one after the other, after two calls of each that are not counted."""
    for action in (first, second) * 2:
        action()
    pairs = [(seconds_of(first), seconds_of(second)) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """The ratio of the medians, and the quartiles of the paired ratios."""
    paired = statistics.quantiles([a / b for a, b in zip(numerator, denominator, strict=True)], n=4)
    return {
        "ratio": statistics.median(numerator) / statistics.median(denominator),
        "lower_quartile": paired[0],
        "upper_quartile": paired[2],
    }


def training_step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A forward pass, a backward pass and an SGD step."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def built_directly(folded: nn.Module) -> nn.Module:
    """A chain of new layers of the folded network's widths."""
    layers: list[nn.Module] = []
    for layer in folded.features.children():  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            bias = layer.bias is not None
            layers.append(nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=bias))
        elif isinstance(layer, nn.BatchNorm2d):
            layers.append(nn.BatchNorm2d(layer.num_features))
        else:
            layers.append(layer)
    classifier = folded.classifier
    assert isinstance(classifier, nn.Linear)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(classifier.in_features, classifier.out_features))


def forward(network: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """A forward pass in evaluation mode without gradients."""
    network.eval()

    def run() -> Tensor:
        with torch.no_grad():
            return network(images)

    return run


def measure(width: float, keep: float, batch: int, examples: int, runs: int, seed: int) -> dict[str, Any]:
    """All numbers of one network."""
    torch.manual_seed(seed)
    network = vgg16(width=width)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    data = torch.randn(examples, 3, 32, 32)
    training_step(network, images, labels)()  # BatchNorm statistics of its own

    random = [seconds_of(lambda: add_branches(network, images[:2], keep=keep, init="kaiming")) for _ in range(runs)]
    fitted = [seconds_of(lambda: add_branches(network, images[:2], keep=keep, data=data)) for _ in range(3)]
    branched = add_branches(network, images[:2], keep=keep, data=data)
    folding = [seconds_of(lambda: fold(branched)) for _ in range(runs)]

    branched.set_alpha(0.5)
    macs = count_macs(branched, (images[:2],)) / CostModel(network, images[:2]).full.macs
    blended, plain = alternately(training_step(branched, images, labels), training_step(network, images, labels), runs)
    step = ratio(blended, plain)

    folded = fold(branched)
    result: dict[str, Any] = {
        "add_branches_random_s": statistics.median(random),
        "add_branches_least_squares_s": statistics.median(fitted),
        "least_squares_examples": examples,
        "fold_s": statistics.median(folding),
        "plain_step_s": statistics.median(plain),
        "branched_step_s": statistics.median(blended),
        "step": step,
        "step_macs_ratio": macs,
        "step_overhead_per_macs": step["ratio"] / macs,
    }
    for size in (1, 64):
        x = images[:size]
        small, direct = alternately(forward(folded, x), forward(built_directly(folded), x), 10 * runs)
        whole, again = alternately(forward(network, x), forward(folded, x), 5 * runs)
        result[f"latency_batch_{size}"] = {
            "folded_ms": 1000 * statistics.median(small),
            "folded_over_direct": ratio(small, direct),
            "original_over_folded": ratio(whole, again),
        }
    return result


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25, help="width multiplier of VGG-16")
    parser.add_argument("--keep", type=float, default=0.34)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--examples", type=int, default=1024, help="examples that branches are fitted to")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {
        "arguments": {key: value for key, value in vars(options).items() if key != "output"},
        **surroundings("torch"),
        **measure(options.width, options.keep, options.batch, options.examples, options.runs, options.seed),
    }
    publish(result, options.output)


if __name__ == "__main__":
    main()
