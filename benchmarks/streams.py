"""Compares least squares with a choice by weights on residual streams: a ViT, a ConvNeXt and a ResNeXt for CIFAR-10.

    python benchmarks/streams.py --data-root DATA --work /tmp/streams --output benchmarks/streams.json

Each network has some ten to some hundred thousand weights and is trained for some epochs on the training split. Then
every group is cut to half, by different beginnings of the branches, and folded; nothing is trained any more. The losses
are those of the test split, which nothing was chosen by. Trained networks are kept in `--work`: a run that was stopped
goes on.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock, LayerNorm2d

from branchfold.benchmarks.results import publish, surroundings
from branchfold.benchmarks.zoo_networks.classics import ResNeXt
from branchfold.benchmarks.zoo_networks.transformers import ViT
from branchfold.models import add_branches, fold
from branchfold.models.cost import count_macs
from branchfold.search.data.known.sources import SOURCES

KEEP = 0.5
FITTING_EXAMPLES = 1024
BATCH = 128
BEGINNINGS = {
    "least squares": {"init": "least-squares"},
    "least squares, channels by L1": {"init": "least-squares", "channels": "l1"},
    "selection, channels by L1": {"init": "selection", "channels": "l1"},
    "selection, greedy channels": {"init": "selection", "channels": "greedy"},
}


def convnext(dims: tuple[int, int] = (48, 96)) -> nn.Module:
    """A small ConvNeXt of torchvision's blocks."""
    return nn.Sequential(
        nn.Conv2d(3, dims[0], 4, 4),
        LayerNorm2d(dims[0]),
        *(CNBlock(dims[0], 1.0, 0.0) for _ in range(2)),
        LayerNorm2d(dims[0]),
        nn.Conv2d(dims[0], dims[1], 2, 2),
        *(CNBlock(dims[1], 1.0, 0.0) for _ in range(2)),
        nn.AdaptiveAvgPool2d(1),
        LayerNorm2d(dims[1]),
        nn.Flatten(),
        nn.Linear(dims[1], 10),
    )


# How each is built, and how many epochs it is trained.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (lambda: ViT(dim=96, depth=3, mlp_dim=192), 4),
    "convnext": (convnext, 4),
    "resnext": (ResNeXt, 2),
}


class Split(NamedTuple):
    """Normalised images (N, 3, 32, 32) and their classes (N,)."""

    images: Tensor
    labels: Tensor

    @staticmethod
    def read(root: Path, part: str) -> "Split":
        images, labels = SOURCES["cifar10"].read(root, part)
        images = images.float() / 255
        mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.247, 0.2435, 0.2616])
        return Split((images - mean[:, None, None]) / std[:, None, None], labels)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in random order, half of the images mirrored."""
        for rows in torch.randperm(len(self.labels), generator=generator).split(BATCH):
            mirrored = torch.rand(len(rows), generator=generator) < 0.5
            x = self.images[rows]
            yield torch.where(mirrored[:, None, None, None], x.flip(3), x), self.labels[rows]


def train(network: nn.Module, split: Split, epochs: int) -> None:
    """AdamW with one cycle of the learning rate."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * -(-len(split.labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    network.train()
    for _ in range(epochs):
        for x, y in split.shuffled(generator):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def judged(network: nn.Module, split: Split) -> dict[str, float]:
    """Loss and accuracy."""
    logits = torch.cat([network(x) for x in split.images.split(500)])
    return {
        "loss": round(float(F.cross_entropy(logits, split.labels)), 4),
        "accuracy": round(float((logits.argmax(1) == split.labels).float().mean()), 4),
    }


def trained(name: str, split: Split, work: Path) -> nn.Module:
    """The network, trained or as it was kept."""
    torch.manual_seed(0)
    build, epochs = NETWORKS[name]
    network, kept = build(), work / f"{name}-{len(split.labels)}.pt"
    if kept.exists():
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network.eval()
    train(network, split, epochs)
    work.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), kept)
    return network


def measured(name: str, train_split: Split, test_split: Split, work: Path) -> dict[str, Any]:
    """One network, trained, and what each beginning leaves of it."""
    network = trained(name, train_split, work)
    x = train_split.images[:2]
    result: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "epochs": NETWORKS[name][1],
        "whole": judged(network, test_split),
        "half": {},
    }
    for told, options in BEGINNINGS.items():
        data = train_split.images[:FITTING_EXAMPLES]
        small = fold(add_branches(network, x, keep=KEEP, data=data, **options))  # type: ignore[arg-type]
        result["macs_kept"] = round(count_macs(small, (x,)) / count_macs(network, (x,)), 3)
        result["half"][told] = judged(small, test_split)
    return result


def main() -> None:
    """Trains and measures the networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--work", type=Path, default=Path("streams"))
    parser.add_argument("--examples", type=int, default=8_000, help="of the training split")
    parser.add_argument("--judged", type=int, default=2_000, help="of the test split")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train_split, test_split = (Split.read(arguments.data_root, part) for part in ("train", "test"))
    train_split = Split(*(values[: arguments.examples] for values in train_split))
    test_split = Split(*(values[: arguments.judged] for values in test_split))
    found: dict[str, Any] = {}
    for name in arguments.networks:
        found[name] = measured(name, train_split, test_split, arguments.work)
        print(name, found[name], file=sys.stderr)
    examples = {"trained_on": arguments.examples, "fitted_to": FITTING_EXAMPLES, "judged_on": arguments.judged}
    settings = {"keep": KEEP, **examples}
    publish({**settings, "networks": found, **surroundings("torch", "torchvision")}, arguments.output)


if __name__ == "__main__":
    main()
