"""Does an α schedule ever pay over folding at once? A map of cells, each with both arms tuned alike.

    python benchmarks/map.py run --data-root ../shared/data --folder map       goes on where it was stopped
    python benchmarks/map.py publish --folder map                              what docs/schedules.md shows

Quarter-width VGG-16 on CIFAR-10 (`--study` and `--set` take another). A cell is a share of the MACs × a run's length ×
the images that pruning may use × how branches begin. In each, "a schedule" and "at once" are tuned by six trials on the
validation split: the known recipe, the same taught by the baseline, the winner of the nearest cell, random ones. Each
arm's winner then runs on five new seeds, paired, and only those are judged, on test, once. Further baselines have the
same winners' runs. Equal shares of all groups' channels stay.
"""

import argparse
import time
from pathlib import Path

import torch

from branchfold.benchmarks.map_parts.bench import Bench, Setting
from branchfold.benchmarks.map_parts.cells import queue
from branchfold.benchmarks.map_parts.ledger import Ledger
from branchfold.benchmarks.map_parts.running import missing, run
from branchfold.benchmarks.results import surroundings


def run_map(options: argparse.Namespace) -> None:
    """Runs what is missing until it is stopped."""
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    overrides = [*options.set, f'data.root="{options.data_root}"']
    setting = Setting(options.study, tuple(overrides), options.folder)
    ledger, cells, benches = Ledger(options.folder), queue(), dict[int, Bench]()
    about = surroundings("torch")
    for key in missing(cells, options.baselines, ledger):
        if key.baseline not in benches:
            benches = {key.baseline: Bench(setting, key.baseline)}
        line = run(key, benches[key.baseline], ledger, cells, about)
        told = line.get("test", line["validation"])
        print(
            time.strftime("%H:%M:%S"),
            key.cell,
            key.arm,
            key.purpose,
            key.number,
            key.baseline,
            f"{told:.4f}",
            flush=True,
        )


def main() -> None:
    """Runs or publishes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("run", "publish"))
    parser.add_argument("--study", default="vgg16-cifar10")
    parser.add_argument("--set", action="append", default=["model.width=0.25", "baseline.epochs=8"])
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--baselines", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("map"), help="of what is kept")
    options = parser.parse_args()
    run_map(options)


if __name__ == "__main__":
    main()
