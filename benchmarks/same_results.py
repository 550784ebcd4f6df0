"""Shows whether two checkouts of branchfold give bit-equal results: the same seeded study of the digits in both.

python benchmarks/same_results.py BEFORE AFTER      two folders, for example made by `git worktree add BEFORE COMMIT`

Compared are the accuracies and costs of the trials and the weights of all networks. Exit status 1 where any differ.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from safetensors import safe_open

STUDY = (
    "search.recipes=[]",
    "screening.candidates=5",
    "data.validation=0.2",
    "baseline.epochs=4",
    "trial.epochs=2",
    "search.startup_trials=3",
)
# Keys that one of the checkouts may not know yet, with values that make it run as the other does.
NEWER = {"search.finalists": "1"}
# What differs from run to run on one machine.
TIMED = ("latency", "latency_share", "seconds")


def results(checkout: Path, trials: int) -> dict[str, Any]:
    """What the study of a checkout found: its trials without what is timed, and digests of the networks' weights."""
    module, function = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["scripts"][
        "branchfold"
    ].split(":")
    code = f"import sys; from {module} import {function}; sys.argv[0] = 'branchfold'; {function}()"
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve() / ".ci"), "OMP_NUM_THREADS": "1"}

    def branchfold(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=check)

    with tempfile.TemporaryDirectory() as folder:
        options = [f"--set={change}" for change in STUDY]
        newer = [f"--set={key}={value}" for key, value in NEWER.items()]
        arguments = ["run", "digits", "--trials", str(trials), *options]
        if branchfold(*arguments, *newer, check=False).returncode != 0:
            branchfold(*arguments)
        shown = json.loads(branchfold("show", "digits", "--json").stdout)
        kept = (path for path in Path(folder, "studies", "artifacts").rglob("*") if path.is_file())
        weights = sorted(_digest(path) for path in (Path(folder, "digits.safetensors"), *kept))
    return {"trials": [_untimed(trial) for trial in shown], "weights": weights}


def _untimed(trial: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in trial.items() if not key.startswith(TIMED)}


def _digest(path: Path) -> str:
    """SHA-256 of a file's tensors: its description may have other versions and times."""
    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        for name in sorted(file.keys()):
            digest.update(name.encode() + file.get_tensor(name).tobytes())
    return digest.hexdigest()


def main() -> None:
    """Compares two checkouts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    arguments = parser.parse_args()
    before, after = (results(checkout, arguments.trials) for checkout in (arguments.before, arguments.after))
    common = set(before["trials"][0]) & set(after["trials"][0])
    for old, new in zip(before["trials"], after["trials"], strict=True):
        differing = [key for key in sorted(common) if old[key] != new[key]]
        values = [trial.get("metric", trial.get("accuracy")) for trial in (old, new)]
        print(f"trial {old['number']}: accuracy {values[0]}, {values[1]}", *differing)
    same = before["weights"] == after["weights"] and all(
        old[key] == new[key] for old, new in zip(before["trials"], after["trials"], strict=True) for key in common
    )
    print(f"{len(before['weights'])} networks: {'bit-equal' if same else 'DIFFERENT'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
