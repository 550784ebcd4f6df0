"""What loading images costs: ResNet-18's training steps fed from a folder of JPEGs, beside the same steps on one batch.

python benchmarks/loading.py --work FOLDER --output benchmarks/loading.json      makes 20,000 JPEGs there once

For each way of holding the images, in memory and streamed: the processor's time for a batch, that of the loading
processes included, over its time for a step, which other programs hardly touch. And by the clock, where `--steps` asks
for it: steps on batches that are loaded and steps on one batch that is there already are timed in turn; the share is
the median of the differences over the median of the latter. Two threads train; a machine that does anything else makes
the clock's numbers worthless.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# As the command line sets it before torch is imported: threads that spin would take the loading processes' cores.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from branchfold.benchmarks.results import publish, surroundings
from branchfold.search.data.data import BatchSource, Data
from branchfold.search.data.folder import images as folder_images
from branchfold.search.data.opening import Wanted, open_data
from branchfold.studies.definition.data_keys import DataTable

IMAGES, CLASSES = 20_000, 10
SIZE, BATCH, THREADS = 224, 64, 2
# Of a JPEG, in pixels: the mean of ImageNet's.
HEIGHT, WIDTH = 375, 500
LIMIT = 0.05
# Batches of a pass, and passes and steps of which the processor's time is the median.
_BATCHES, _PASSES, _STEPS = 30, 3, 5


def write_images(folder: Path) -> None:
    """Smooth random pictures with some noise, which compress as photographs do (about 60 kB each); those there stay."""
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        coarse = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        noise = draw.normal(0, 12, (HEIGHT, WIDTH, 3))
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8)).save(path, quality=85)


def read(folder: Path, *, streamed: bool) -> tuple[Data, float]:
    """The folder's images, and the seconds that it took until they were there."""
    share, begun = folder_images.MEMORY_SHARE, time.perf_counter()
    folder_images.MEMORY_SHARE = 0.0 if streamed else 1.0
    try:
        table = DataTable(name="folder", root=str(folder), size=[SIZE, SIZE], validation=0.05, test=0.05)
        return open_data(table, seed=0).read(Wanted(lambda line: None)), time.perf_counter() - begun
    finally:
        folder_images.MEMORY_SHARE = share


def batches_of(data: Data, augment: str, count: int | None = None) -> BatchSource:
    """Batches of the training images, so many of them or all."""
    part = data.train if count is None else data.train.first(count * BATCH)
    return data.batches(part, BATCH, shuffle=True, augment=augment, drop_last=True)


def by_processor(batches: BatchSource) -> dict[str, float]:
    """The processor's seconds for a loaded batch and for a step, medians, and the share of the former in the latter."""
    whole = []
    for _ in range(_PASSES):
        begun = _processor_seconds()
        count = sum(1 for _ in batches)  # the whole pass: its processes have ended then, and nothing is loaded in vain
        whole.append((_processor_seconds() - begun) / count)
    network, ready = resnet18(num_classes=CLASSES), next(iter(batches))
    optimizer, steps = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9), []
    for _ in range(_STEPS + 1):
        begun = _processor_seconds()
        _step(network, optimizer, ready)
        steps.append(_processor_seconds() - begun)
    batch, step = statistics.median(whole), statistics.median(steps[1:])
    return {"processor_batch": batch, "processor_step": step, "processor_share": batch / step}


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def by_clock(batches: BatchSource, steps: int) -> dict[str, float]:
    """Seconds of steps on loaded batches and on one that is there, in turn, and what loading adds as a share.

    Args:
        batches: To train on.
        steps: Of each kind.
    """
    network = resnet18(num_classes=CLASSES)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    stream: Iterator[Any] = iter(batches)
    ready = next(stream)
    _step(network, optimizer, ready)
    loaded, alone = [], []
    for _ in range(steps):
        begun = time.perf_counter()
        _step(network, optimizer, next(stream))
        middle = time.perf_counter()
        _step(network, optimizer, ready)
        loaded.append(middle - begun)
        alone.append(time.perf_counter() - middle)
    extra = statistics.median(a - b for a, b in zip(loaded, alone, strict=True))
    step = statistics.median(alone)
    return {"step": step, "loaded": statistics.median(loaded), "share": extra / step}


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> None:
    optimizer.zero_grad()
    F.cross_entropy(network(batch[0]), batch[1]).backward()
    optimizer.step()


def main() -> None:
    """Measures both ways with and without augmentation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the images")
    parser.add_argument("--steps", type=int, default=20, help="timed by the clock; 0 on a busy machine")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    write_images(options.work)
    rows = []
    for streamed in (False, True):
        data, seconds = read(options.work, streamed=streamed)
        for augment in ("none", "shift-flip", "random-resized-crop"):
            found = by_processor(batches_of(data, augment, _BATCHES))
            if options.steps:
                found |= by_clock(batches_of(data, augment), options.steps)
            rows.append({"streamed": streamed, "augment": augment, "reading": seconds, **found})
            print(rows[-1], flush=True)
    publish({**surroundings("torch", "torchvision", "pillow"), "limit": LIMIT, "rows": rows}, options.output)


if __name__ == "__main__":
    main()
