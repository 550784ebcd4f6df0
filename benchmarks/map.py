"""Does an α schedule ever pay over folding at once? A map of cells, each with both arms tuned alike.

    python benchmarks/map.py run --data-root ../shared/data --folder map       goes on where it was stopped
    python benchmarks/map.py publish --data-root ../shared/data --folder map   what docs/schedules.md shows

Quarter-width VGG-16 on CIFAR-10 (`--study` and `--set` take another). A cell is a share of the MACs × a run's length ×
the images that pruning may use × how branches begin. In each, "a schedule" and "at once" are tuned by six trials on the
validation split: the known recipe, the same taught by the baseline, the winner of the nearest cell, random ones. Each
arm's winner then runs on five new seeds, paired, and only those are judged, on test, once. Further baselines have the
same winners' runs. Equal shares of all groups' channels stay.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from branchfold.benchmarks.map_parts.bench import Bench, Setting
from branchfold.benchmarks.map_parts.cells import queue
from branchfold.benchmarks.map_parts.ledger import Ledger
from branchfold.benchmarks.map_parts.picture import picture
from branchfold.benchmarks.map_parts.publishing import published
from branchfold.benchmarks.map_parts.running import missing, run
from branchfold.benchmarks.results import surroundings

_HERE = Path(__file__).resolve().parent
# The built-in definition as it was when the map began.
SET = ("model.width=0.25", "baseline.epochs=8", "baseline.label_smoothing=0.0", "data.augment=true")


def run_map(options: argparse.Namespace, setting: Setting) -> None:
    """Runs what is missing until it is stopped."""
    ledger, cells, benches = Ledger(options.folder), queue(), dict[int, Bench]()
    about = surroundings("torch")
    for key in missing(cells, options.baselines, ledger):
        if key.baseline not in benches:
            benches = {key.baseline: Bench(setting, key.baseline)}  # one at a time: each holds the images
        line = run(key, benches[key.baseline], ledger, cells, about)
        told = line.get("test", line["validation"])
        when = time.strftime("%H:%M:%S")
        print(when, key.cell, key.arm, key.purpose, key.number, key.baseline, f"{told:.4f}", flush=True)


def publish_map(options: argparse.Namespace, setting: Setting) -> None:
    """Writes the cells, all runs, and the picture."""
    ledger = Ledger(options.folder)
    lines = list(ledger.lines.values())
    baselines, examples = {}, 0
    for seed in options.baselines:
        bench = Bench(setting, seed)
        right = bench.right(bench.network)
        baselines[str(seed)], examples = float(right.mean()), len(right)
    cells = published(ledger, examples)
    result = {
        **{key: lines[0][key] for key in ("hardware", "versions")},
        "study": options.study,
        "set": options.set,
        "examples": examples,
        "baselines": baselines,
        "runs": len(lines),
        "seconds": round(sum(line["seconds"] for line in lines)),
        "cells": cells,
    }
    (_HERE / "map.json").write_text(json.dumps(result, indent=1) + "\n")
    (_HERE / "map-runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    picture(cells).write_image(_HERE.parent / "docs" / "pictures" / "schedules.svg")


def main() -> None:
    """Runs or publishes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("run", "publish"))
    parser.add_argument("--study", default="vgg16-cifar10")
    parser.add_argument("--set", action="append", default=list(SET))
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--baselines", type=int, nargs="+", default=[1], help="seeds; arms are tuned on the first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("map"), help="of what is kept")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(options.study, (*options.set, f"data.root={json.dumps(options.data_root)}"), options.folder)
    {"run": run_map, "publish": publish_map}[options.what](options, setting)


if __name__ == "__main__":
    main()
