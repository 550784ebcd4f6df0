"""Narrows networks of all kinds, drawn by a seed and hand-written, to half, and compares with Torch-Pruning.

    pip install -e '.[benchmark]' && python benchmarks/zoo.py --seed 1 --output benchmarks/zoo-1.json

Of each network: whether branchfold takes it, whether the result is right in every way, what share of the MACs it
removes (counted by torch), what that costs, and what is in the way of the rest; beside it what Torch-Pruning does. A
run that was stopped goes on where it was when it is started again with the same output.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from branchfold.benchmarks.results import surroundings
from branchfold.benchmarks.zoo_parts.drawing import Draw, draw, family_of, quick
from branchfold.benchmarks.zoo_parts.processes import TOOLS, Limits, measure
from branchfold.benchmarks.zoo_parts.tables import details, is_wrong, summary

PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "torch-pruning")


def main() -> None:
    """Measures what is not measured yet, and prints the tables."""
    options = _options()
    drawn = _drawn(options)
    if options.draw:
        print("\n".join(f"{draw.family:14} {draw.key}" for draw in drawn))
        return
    limits = Limits(options.seconds, options.process_seconds, options.gigabytes, not options.unchecked)
    result = _begun(options, limits)
    if options.reuse:
        _reuse(options.reuse, result)
    for number, one in enumerate(drawn, 1):
        row = result["networks"].setdefault(one.key, {"family": one.family})
        for tool in options.tools:  # one right after the other: the machine is as busy for both
            if tool in row:
                continue
            row[tool] = {"commit": result["commit"], **measure(tool, one.key, limits)}
            _save(result, options.output)
            print(f"{number}/{len(drawn)} {tool} {one.key}: {_in_short(row[tool])}", file=sys.stderr, flush=True)
    shown = {**result, "networks": {one.key: result["networks"][one.key] for one in drawn}}
    print(summary(shown))
    if options.details:
        print(details(shown))
    if any(is_wrong(row.get("branchfold", {})) for row in shown["networks"].values()):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="which networks are drawn")
    parser.add_argument("--count", type=int, default=126, help="how many are drawn, beside the hand-written ones")
    parser.add_argument("--quick", action="store_true", help="25 small networks instead, the same for every seed")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="these networks, such as timm:resnet18 own:lenet")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--draw", action="store_true", help="print what is drawn, and measure nothing")
    parser.add_argument("--details", action="store_true", help="print what is in the way in each network, too")
    parser.add_argument("--unchecked", action="store_true", help="only count: what is removed may be wrong")
    parser.add_argument("--output", type=Path, help="a JSON file, which a run that was stopped goes on with")
    parser.add_argument("--reuse", type=Path, metavar="FILE", help="an earlier output: its results of torch-pruning")
    parser.add_argument("--seconds", type=float, default=Limits().tool, help="of the processor for a tool's work")
    parser.add_argument(
        "--process-seconds", type=float, default=Limits().whole, help="of the processor for one network"
    )
    parser.add_argument("--gigabytes", type=float, default=Limits().gigabytes, help="of memory for one network")
    return parser.parse_args()


def _drawn(options: argparse.Namespace) -> list[Draw]:
    if options.only:
        try:
            return [Draw(key, family_of(key)) for key in options.only]
        except KeyError as error:
            known = "timm:NAME, smp:ARCHITECTURE/ENCODER or own:NAME, as --draw prints them"
            sys.exit(f"--only takes {known}, but got {' '.join(options.only)} ({error} is not known)")
    return quick() if options.quick else draw(options.seed, options.count)


def _begun(options: argparse.Namespace, limits: Limits) -> dict[str, Any]:
    """What an earlier run has measured, or nothing yet."""
    begun = {
        "seed": options.seed,
        "count": options.count,
        "limits": limits._asdict(),
        **surroundings(*PACKAGES),
        "commit": _commit(),
        "networks": {},
    }
    if options.output is None or not options.output.exists():
        return begun
    earlier: dict[str, Any] = json.loads(options.output.read_text())
    other = [key for key in begun if key != "networks" and earlier.get(key) != json.loads(json.dumps(begun[key]))]
    if other:
        sys.exit(f"{options.output} was measured with another {', '.join(other)}: give another --output")
    return earlier


def _reuse(file: Path, result: dict[str, Any]) -> None:
    """Takes over what an earlier run measured of Torch-Pruning, which does not depend on branchfold's code."""
    earlier = json.loads(file.read_text())
    other = [name for name in PACKAGES if earlier["versions"].get(name) != result["versions"][name]]
    if other:
        sys.exit(f"{file} was measured with other versions of {', '.join(other)}: measure torch-pruning anew")
    for key, row in earlier["networks"].items():
        if "torch-pruning" in row:
            reused = {"commit": earlier["commit"], **row["torch-pruning"]}
            result["networks"].setdefault(key, {"family": row["family"]}).setdefault("torch-pruning", reused)


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _save(result: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        unfinished = output.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(result, indent=1) + "\n")
        os.replace(unfinished, output)


def _in_short(row: dict[str, Any]) -> str:
    for key in ("unusable", "refused", "crash", "stopped"):
        if key in row:
            return f"{key}: {row[key]:.150}"
    errors = max((value for key, value in row.items() if key.startswith("error_") and value is not None), default=0.0)
    return f"{row['removed']:.0%} of the MACs removed, {row['seconds']:.2f} s, error {errors:.0e}"


if __name__ == "__main__":
    main()
